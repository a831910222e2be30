"""An export as MLflow sees it: both of its flavors load the directory, and the texts are the model's."""

import json
from pathlib import Path
from typing import Any

import pytest

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.formats import FORMATS
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from pipelines.export.mlflow_model import write_mlflow_model
from tests.kit.tokenizers import write_byte_tokenizer


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A result of `export`."""
    pytest.importorskip("transformers")
    ArcticModel(preset("tiny", {"vocab_size": 300, "init_std": 0.3}), seed=0).save_pretrained(tmp_path / "base")
    write_byte_tokenizer(tmp_path)
    (tmp_path / "out" / "model").mkdir(parents=True)
    FORMATS["huggingface"].write(Checkpoint(tmp_path / "base"), tmp_path, tmp_path / "out" / "model", "float32")
    write_mlflow_model(tmp_path / "out", tmp_path / "out" / "model", "float32")
    return tmp_path / "out"


def test_the_description_names_files_that_are_there(exported: Path) -> None:
    page: dict[str, Any] = json.loads((exported / "MLmodel").read_text())

    flavor = page["flavors"]["transformers"]
    assert flavor["pipeline_model_type"] == "ArcticForCausalLM"
    assert (exported / flavor["model_binary"] / "config.json").is_file()
    for component in flavor["components"]:
        assert (exported / "components" / component / "tokenizer.json").is_file()
        assert f"{component}_type" in flavor
    assert flavor["torch_dtype"] == "torch.float32"


@pytest.mark.slow
def test_both_flavors_load_it_and_write_what_the_model_writes(exported: Path) -> None:
    import mlflow
    import torch

    pipeline = mlflow.transformers.load_model(str(exported))
    predicted = mlflow.pyfunc.load_model(str(exported)).predict(["some text"])

    ids = torch.tensor([pipeline.tokenizer("some text")["input_ids"]])
    model = ArcticModel.from_pretrained(exported.parent / "base")
    with torch.no_grad():
        torch.testing.assert_close(pipeline.model(ids).logits, model(ids), atol=1e-4, rtol=1e-4)
    [written] = predicted
    assert written.startswith("some text")
    assert len(written) > len("some text")
