"""A directory that `transformers`, and every engine that builds on it, loads by `from_pretrained`."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from arctic_model import config_json
from arctic_model.checkpoint.model_folder import CONFIG
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.config import ArcticConfig
from arctic_model.export.special_tokens import SpecialTokens, write_tokenizer
from arctic_model.export.weights import Conversion, cast_to, write_weights

GENERATION_CONFIG = "generation_config.json"
REMOTE_CODE = Path(__file__).parent / "remote_code"
MODELING_FILES = ("configuration_arctic.py", "modeling_arctic.py")
AUTO_MAP = {
    "AutoConfig": "configuration_arctic.ArcticConfig",
    "AutoModel": "modeling_arctic.ArcticModel",
    "AutoModelForCausalLM": "modeling_arctic.ArcticForCausalLM",
}


def write_huggingface(checkpoint: Checkpoint, tokenizer: Path, out: Path, dtype: str) -> None:
    """Write weights, configuration, modeling code and tokenizer into the folder `out`.

    Args:
        checkpoint: the model.
        tokenizer: folder with tokenizer.json and tokenizer_config.json.
        out: an existing, empty folder.
        dtype: of the weights, "float32" or "bfloat16".

    Raises:
        ExportError: if the tokenizer cannot be read.
    """
    write_directory(checkpoint, tokenizer, out, cast_to(getattr(torch, dtype)), {"dtype": dtype})


def write_directory(
    checkpoint: Checkpoint, tokenizer: Path, out: Path, convert: Conversion, more: dict[str, Any]
) -> None:
    """`write_huggingface` with any conversion of tensors; `more` fields of config.json describe it."""
    special = SpecialTokens.read(tokenizer)
    write_weights(checkpoint, out, convert)
    _write_json(out / CONFIG, huggingface_config(checkpoint.config, special) | more)
    _write_json(out / GENERATION_CONFIG, generation_config(special))
    write_tokenizer(tokenizer, out)
    for name in MODELING_FILES:
        shutil.copyfile(REMOTE_CODE / name, out / name)


def huggingface_config(config: ArcticConfig, special: SpecialTokens) -> dict[str, Any]:
    """The content of an exported config.json.

    `head_dim`, `rope_parameters` and `norm_topk_prob` repeat values that follow from other fields, for engines that
    read only these.
    """
    content = config.to_huggingface()
    # The older name of `dtype`.
    del content["torch_dtype"]
    return content | {
        "auto_map": AUTO_MAP,
        "bos_token_id": special.begin,
        "eos_token_id": special.end[0],
        "head_dim": config.head_dim,
        "norm_topk_prob": True,
        "pad_token_id": special.pad,
        "rope_parameters": config_json.rope_parameters(asdict(config)),
        "use_cache": True,
    }


def generation_config(special: SpecialTokens) -> dict[str, Any]:
    """The content of generation_config.json: greedy, up to the end of the text or of the turn."""
    return {
        "bos_token_id": special.begin,
        "do_sample": False,
        "eos_token_id": list(special.end),
        "pad_token_id": special.pad,
    }


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
