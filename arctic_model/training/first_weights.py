"""Initial weights of training instead of random ones: those of a folder, or the result of upcycling them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import Checkpoint, TrainingState, open_weights
from arctic_model.checkpoint.tensors.names import EXPERTS, WEIGHT, ParameterSlice, is_expert
from arctic_model.checkpoint.upcycling import is_upcycled, mismatches
from arctic_model.checkpoint.workers import ALONE, Workers
from arctic_model.checkpoint.writing import layout, write_checkpoint
from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.weight_init import drawn


@dataclass(frozen=True)
class InitialWeights:
    """The source of the weights before the first step.

    Args:
        folder: as `arctic_model.checkpoint.reading.open_weights` reads it.
        with_optimizer: whether moments and the number of updates come from there too; otherwise both begin at zero.
        seed: of the routers that upcycling adds.
    """

    folder: Path
    with_optimizer: bool = False
    seed: int = 0

    def open(self, config: ArcticConfig, workers: Workers = ALONE) -> "FirstWeights":
        """The weights for a model of `config`.

        Raises:
            CheckpointError: if the folder cannot be read, or does not fit the model.
        """
        source = open_weights(self.folder, workers, with_optimizer=self.with_optimizer)
        for name, (found, required) in mismatches(source.config, config.with_context_of(source.config)).items():
            raise CheckpointError(
                f"{self.folder}: {name} = {found!r} must be {required!r} to begin from these weights."
            )
        return FirstWeights(source, config, self.seed, self.with_optimizer)


class FirstWeights:
    """Weights of `source` for a model of `config`, read slice by slice, `with_optimizer` its state after `updates`
    updates as well."""

    def __init__(self, source: Checkpoint, config: ArcticConfig, seed: int, with_optimizer: bool) -> None:
        self._source = source
        self._config = config
        self._seed = seed
        self.with_optimizer = with_optimizer
        self.updates = source.state.updates if with_optimizer else 0

    def read_slice(self, name: str, kind: str, start: int, length: int) -> Float[Tensor, " S"]:
        """`length` values from `start` on of the flat parameter `name` over all experts, or of its optimizer state.

        Raises:
            CheckpointError: if a file cannot be read.
        """
        if name in self._source:
            return self._source.read_slice(name, kind, start, length)
        return self._upcycled(name, start, length)

    def _upcycled(self, name: str, start: int, length: int) -> Tensor:
        """Tensors that the dense model lacks: see `arctic_model.checkpoint.upcycling`."""
        layer, _, part = name.partition(".block_sparse_moe.")
        if part == "gate.weight":
            shape = (self._config.num_experts, self._config.hidden_size)
            return drawn(name, torch.Size(shape), self._config.init_std, self._seed).view(-1)[start : start + length]
        if part.startswith(EXPERTS):
            return self._copies(f"{layer}.residual_mlp.{part.removeprefix(f'{EXPERTS}.')}.weight", start, length)
        if name.endswith(".post_attention_layernorm.weight") and is_upcycled(self._source.config, self._config):
            gains = name.replace("post_attention", "residual")
            return self._source.read_slice(gains, WEIGHT, start, length)
        if part == "gate.e_score_correction_bias":
            return torch.zeros(length)
        raise CheckpointError(f"{self._source.folder}: holds no tensor {name}. Name a folder with a whole model.")

    def _copies(self, matrix: str, start: int, length: int) -> Tensor:
        """Values of a stack whose every expert is the dense `matrix`, or zeros for the last matrix if a dense MLP is
        parallel."""
        if matrix.endswith(".w2.weight") and self._config.layer_shape != "moe":
            return torch.zeros(length)
        one = self._source.read(matrix).reshape(-1)
        parts, stop = [], start + length
        while start < stop:
            begin = start % one.numel()
            parts.append(one[begin : begin + stop - start])
            start += len(parts[-1])
        return torch.cat(parts)


def write_weights(folder: Path, initial: InitialWeights, config: ArcticConfig) -> int:
    """Write a checkpoint with the weights for a model of `config`, before any step.

    Returns:
        Number of parameters.

    Raises:
        CheckpointError: as `InitialWeights.open`.
    """
    first = initial.open(config)
    with torch.device("meta"):
        model = ArcticModel(config)
    untrained = TrainingState(0, 0, [], [], 0, [], [], [])
    write_checkpoint(folder, config, untrained, layout(model, lambda _: ()), _slices(model, first))
    return sum(parameter.numel() for parameter in model.parameters())


def _slices(model: ArcticModel, first: FirstWeights) -> Iterator[ParameterSlice]:
    """Every value of `model`, one matrix at a time."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        size = tensor.numel() // (len(tensor) if is_expert(name) else 1)
        for start in range(0, tensor.numel(), size):
            values = first.read_slice(name, WEIGHT, start, size).float()
            yield ParameterSlice(name, WEIGHT, start, values.contiguous())
