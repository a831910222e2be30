"""An export as a model of MLflow: the directory, and the files with which `mlflow.transformers` and `mlflow.pyfunc`
load it.

MLmodel                  the two flavors (JSON is YAML)
components/tokenizer/    the tokenizer, which MLflow looks for next to the model
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

from infra.store import link_or_copy

DESCRIPTION = "MLmodel"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
TEXT = '[{"type": "string", "required": true}]'
"""Signature of texts in and texts out."""


def write_mlflow_model(out: Path, model: Path, dtype: str) -> None:
    """Describe the Hugging Face directory `model`, a folder in `out`, with weights in `dtype`."""
    folder = out / "components" / "tokenizer"
    folder.mkdir(parents=True)
    for name in TOKENIZER:
        link_or_copy(model / name, folder / name)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    flavors = {
        "python_function": {
            "loader_module": "mlflow.transformers",
            "model_binary": model.name,
            "python_version": platform.python_version(),
        },
        "transformers": {
            "task": "text-generation",
            "instance_type": "TextGenerationPipeline",
            "source_model_name": config["model_type"],
            "pipeline_model_type": config["architectures"][0],
            "model_binary": model.name,
            "framework": "pt",
            "torch_dtype": f"torch.{dtype}",
            "tokenizer_type": tokenizer.get("tokenizer_class", "PreTrainedTokenizerFast"),
            "components": ["tokenizer"],
            "transformers_version": version("transformers"),
        },
    }
    page = {"flavors": flavors, "signature": {"inputs": TEXT, "outputs": TEXT, "params": None}}
    (out / DESCRIPTION).write_text(json.dumps(page, indent=1), encoding="utf-8")
