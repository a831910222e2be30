"""Adapters added to the weights that they belong to: a checkpoint like any other, that costs no product more."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from arctic_model.checkpoint.reading import Checkpoint, TrainingState, open_weights
from arctic_model.checkpoint.tensors.names import EXPERTS, WEIGHT, ParameterSlice, expert_name, is_expert
from arctic_model.checkpoint.writing import layout, write_checkpoint
from arctic_model.kernels.fp8_blocks import dequantize_blocks, quantize_blocks
from arctic_model.model import ArcticModel
from arctic_model.training.lora.adapters import LORA_A, LORA_B
from arctic_model.training.lora.tokens import rows_of
from arctic_model.training.optimization.settings import Lora, LoraTarget, part_of


def write_merged(
    folder: Path, base: Path, lora: Lora, tensors: Mapping[str, Tensor], state: TrainingState | None = None
) -> None:
    """Write a checkpoint of `W + scale * B A`, tensor by tensor: memory holds one matrix. If the base was held in FP8
    blocks, W are the values of these: the adapters were trained on that.

    Args:
        folder: must not exist.
        base: folder of the weights that the adapters were trained on.
        lora: how they were made.
        tensors: A and B of every adapter, by the names of a checkpoint.
        state: the state of the training that made them.

    Raises:
        CheckpointError: if the base cannot be read.
    """
    weights = open_weights(base)
    with torch.device("meta"):
        model = ArcticModel(weights.config)
    slices = _slices(model, weights, lora, tensors)
    write_checkpoint(folder, weights.config, state, layout(model, lambda _: ()), slices)


def merged(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """A matrix with its adapter, float32. Added in float64, so that the sum is rounded once."""
    return (weight.double() + scale * (b.double() @ a.double())).float()


def _slices(
    model: ArcticModel, weights: Checkpoint, lora: Lora, tensors: Mapping[str, Tensor]
) -> Iterator[ParameterSlice]:
    for name, parameter in model.named_parameters():
        names = [expert_name(name, number) for number in range(len(parameter))] if is_expert(name) else [name]
        for number, stored in enumerate(names):
            matrix = _with_adapter(stored, weights.read(stored).float(), lora, tensors).contiguous()
            yield ParameterSlice(name, WEIGHT, number * matrix.numel(), matrix.view(-1))
    for name, _ in model.named_buffers():
        yield ParameterSlice(name, WEIGHT, 0, weights.read(name).float().view(-1))


def _with_adapter(name: str, weight: Tensor, lora: Lora, tensors: Mapping[str, Tensor]) -> Tensor:
    """The tensor `name` of a checkpoint as the model with its adapters multiplies by it."""
    if lora.quantize_base and weight.dim() == 2 and part_of(name) in get_args(LoraTarget):
        weight = dequantize_blocks(*quantize_blocks(weight))
    if (rows := tensors.get(rows_of(name))) is not None:
        return weight.index_copy(0, torch.tensor(lora.tokens), rows.float())
    pair = _expert_pair(name, tensors) if f".{EXPERTS}." in name else _pair(name.removesuffix(".weight"), ".", tensors)
    return merged(weight, *pair, lora.scale) if pair else weight


def _expert_pair(name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """A and B of one expert's matrix: gate and up have a half each of B."""
    expert, matrix = name.removesuffix(".weight").rsplit(".", 1)
    if matrix == "w2":
        return _pair(f"{expert}.down", "_", tensors)
    pair = _pair(f"{expert}.gate_up", "_", tensors)
    return pair and (pair[0], pair[1].chunk(2)[matrix == "w3"])


def _pair(module: str, joint: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    a, b = (tensors.get(f"{module}{joint}{part}.weight") for part in (LORA_A, LORA_B))
    return None if a is None or b is None else (a, b)
