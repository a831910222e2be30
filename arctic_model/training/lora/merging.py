"""Adapters added to the weights that they belong to: a checkpoint like any other, that costs no product more."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from arctic_model.checkpoint.reading import Checkpoint, TrainingState, open_weights
from arctic_model.checkpoint.tensors.names import WEIGHT, ParameterSlice, expert_name, is_expert
from arctic_model.checkpoint.writing import layout, write_checkpoint
from arctic_model.model import ArcticModel
from arctic_model.training.lora.adapters import LORA_A, LORA_B
from arctic_model.training.optimization.settings import Lora


def write_merged(
    folder: Path, base: Path, lora: Lora, tensors: Mapping[str, Tensor], state: TrainingState | None = None
) -> None:
    """Write a checkpoint of `W + scale * B A`, tensor by tensor: memory holds one matrix.

    Args:
        folder: must not exist.
        base: folder of the weights that the adapters were trained on.
        lora: how they were made.
        tensors: A and B of every adapter by the names of the model's parameters.
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
        if is_expert(name):
            size = parameter[0].numel()
            for expert in range(len(parameter)):
                matrix = weights.read(expert_name(name, expert)).float()
                yield ParameterSlice(name, WEIGHT, expert * size, matrix.view(-1))
            continue
        weight, module = weights.read(name).float(), name.removesuffix(".weight")
        a, b = (tensors.get(f"{module}.{part}.weight") for part in (LORA_A, LORA_B))
        if a is not None and b is not None:
            weight = merged(weight, a, b, lora.scale)
        yield ParameterSlice(name, WEIGHT, 0, weight.contiguous().view(-1))
    for name, _ in model.named_buffers():
        yield ParameterSlice(name, WEIGHT, 0, weights.read(name).float().view(-1))
