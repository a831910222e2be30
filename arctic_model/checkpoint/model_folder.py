"""A folder with a model: its architecture, its weight files, and whether these hold every tensor. No torch here.

    <folder>/config.json                              `model_type` "arctic", or a dense family
    <folder>/model.safetensors.index.json             name of tensor -> file, or
    <folder>/model.safetensors                        one file for all

Checkpoints of this package have this form, and so has every Hugging Face directory. Only JSON and the headers of
safetensors files are read: no weight, no pickle, no code of the folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arctic_model.checkpoint.dense_families import FAMILIES, dense_config, our_name
from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.tensors.safetensors_header import StoredTensor, read_header
from arctic_model.checkpoint.tensors.shapes import tensor_shapes
from arctic_model.config import ArcticConfig
from arctic_model.config_json import ConfigJsonError

CONFIG = "config.json"
WEIGHTS_INDEX = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
IGNORED = ".rotary_emb.inv_freq"
"""End of the names of tensors that old exports store although they follow from the config."""
HEAD = "lm_head.weight"
SHOWN_NAMES = 3


def checkpoint_name(step: int) -> str:
    """Name of the folder of a checkpoint, which sorts by step."""
    return f"step-{step:09d}"


def is_supported(folder: Path) -> bool:
    """Whether this package computes the model that the `config.json` of `folder` describes: any with `model_type`
    "arctic", whose unknown features are errors, and those of dense families that have no feature beyond ours."""
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model_type = content.get("model_type") if isinstance(content, dict) else None
        if model_type in FAMILIES:
            dense_config(content)
        return model_type == "arctic" or model_type in FAMILIES
    except (OSError, ValueError):
        return False


def read_config(folder: Path) -> ArcticConfig:
    """The architecture.

    Raises:
        CheckpointError: if `config.json` cannot be read, or describes a model that this package does not have.
    """
    file = folder / CONFIG
    try:
        content = read_json(file)
        if content.get("model_type") in FAMILIES:
            return dense_config(content)
        return ArcticConfig.from_huggingface(content)
    except (ConfigJsonError, ValueError) as error:
        raise CheckpointError(f"{file}: {error}") from error


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights.

    Raises:
        CheckpointError: if there are none, or the index names a file outside the folder.
    """
    if not (folder / WEIGHTS_INDEX).is_file():
        return [_single_file(folder)]
    names = sorted(set(_weight_map(folder).values()))
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{folder / WEIGHTS_INDEX}: names the file {name!r} outside its folder. Correct it.")
    return [folder / name for name in names]


def stored_weights(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of the weight files by our names.

    Raises:
        CheckpointError: if a file or `config.json` cannot be read.
    """
    stored: dict[str, StoredTensor] = {}
    for file in weight_files(folder):
        stored |= read_header(file)
    content = read_json(folder / CONFIG)
    if content.get("model_type") in FAMILIES:
        stored = {our_name(name): tensor for name, tensor in stored.items()}
    # Some exports store a head that is the embedding a second time.
    if content.get("tie_word_embeddings"):
        stored.pop(HEAD, None)
    return {name: tensor for name, tensor in stored.items() if not name.endswith(IGNORED)}


def require_complete(folder: Path) -> ArcticConfig:
    """Check that the weight files hold every tensor that the config names, in its shape, and no other.

    Returns:
        The architecture.

    Raises:
        CheckpointError: naming the file, the first wrong tensors, and the remedy.
    """
    config, stored = read_config(folder), stored_weights(folder)
    expected = tensor_shapes(config)
    missing, unknown = expected.keys() - stored.keys(), stored.keys() - expected.keys()
    if missing:
        raise CheckpointError(f"{folder}: lacks {_some(missing)}. Copy the whole model, or correct {CONFIG}.")
    if unknown:
        raise CheckpointError(f"{folder}: has {_some(unknown)}, which {CONFIG} does not describe. Correct {CONFIG}.")
    for name, shape in expected.items():
        if stored[name].shape != shape:
            raise CheckpointError(
                f"{stored[name].file}: {name} has shape {list(stored[name].shape)}, by {CONFIG} it is {list(shape)}. "
                f"Correct {CONFIG}."
            )
    return config


def read_json(file: Path) -> dict[str, Any]:
    """The object in `file`. Raises CheckpointError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: unreadable ({error}). Name a folder with a whole model.", file) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: holds no JSON object. Name a folder with a whole model.", file)
    return content


def _single_file(folder: Path) -> Path:
    file = folder / SINGLE_FILE
    if not file.is_file():
        pickled = next(iter(sorted(folder.glob("*.bin"))), None)
        wrong = f"{pickled.name} is pickled and is not read; convert it" if pickled else ""
        remedy = wrong or "Give the folder of the weights"
        raise CheckpointError(f"{folder}: holds neither {WEIGHTS_INDEX} nor {SINGLE_FILE}. {remedy}.")
    return file


def _weight_map(folder: Path) -> Mapping[str, Any]:
    mapping = read_json(folder / WEIGHTS_INDEX).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise CheckpointError(f"{folder / WEIGHTS_INDEX}: has no weight_map. Copy the file again.")
    return mapping


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN_NAMES])
    return f"{shown} and {len(names) - SHOWN_NAMES} more tensors" if len(names) > SHOWN_NAMES else shown
