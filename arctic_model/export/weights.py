"""Tensors of a checkpoint into safetensors files, layer by layer.

One file holds one layer, as in the checkpoint. Its tensors are mapped into memory and converted one file at a time, so
that memory holds the converted tensors of one layer, for any size of the model.
"""

import json
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from arctic_model.checkpoint.model_folder import WEIGHTS_INDEX
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.checkpoint.tensors.shapes import tensor_shapes
from arctic_model.config import ArcticConfig

Conversion = Callable[[str, Tensor], Mapping[str, Tensor]]
"""From a tensor with its name to its tensors in the export."""
BIAS = "e_score_correction_bias"
"""Of a router, float32 for any dtype of the model."""


def cast_to(dtype: torch.dtype) -> Conversion:
    """Every tensor in `dtype`; biases of routers in float32."""
    return lambda name, tensor: {name: tensor if name.endswith(BIAS) else tensor.to(dtype)}


def write_weights(checkpoint: Checkpoint, out: Path, convert: Conversion) -> None:
    """Write the weights of `checkpoint` as `model-NNNNN-of-NNNNN.safetensors` with their index into `out`.

    Args:
        checkpoint: as training writes it.
        out: an existing folder.
        convert: the conversion of a tensor of the checkpoint.
    """
    total_size, files = 0, dict[str, str]()
    for file, names in tensors_by_file(checkpoint.config).items():
        tensors: dict[str, Tensor] = {}
        for name in names:
            tensors |= convert(name, checkpoint.read(name))
        save_file(tensors, out / file, metadata={"format": "pt"})
        files |= dict.fromkeys(tensors, file)
        total_size += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total_size}, "weight_map": files}
    (out / WEIGHTS_INDEX).write_text(json.dumps(index, indent=2, sort_keys=True), encoding="utf-8")


def tensors_by_file(config: ArcticConfig) -> dict[str, list[str]]:
    """The files of a model and the released names of the tensors in each: embeddings, layers, norm with head."""
    sections = [list(names) for _, names in groupby(tensor_shapes(config), _section)]
    return {f"model-{number:05d}-of-{len(sections):05d}.safetensors": names for number, names in enumerate(sections, 1)}


def _section(name: str) -> str:
    if ".layers." in name:
        return name.split(".")[2]
    return "embeddings" if "embed_tokens" in name else "head"
