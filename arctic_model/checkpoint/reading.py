"""Checkpoints: safetensors and JSON, one tensor per name of the released model, for any number of workers.

    <folder>/config.json                              the architecture in Hugging Face's words
    <folder>/model.safetensors.index.json             name of tensor -> file
    <folder>/model-NNNNN-of-NNNNN.safetensors         float32 weights: embeddings, each layer, norm and head
    <folder>/optimizer-NNNNN-of-NNNNN.safetensors     optimizer state: `<tensor>.exp_avg` and the like
    <folder>/training_state.json                      step, tokens, router load
    <folder>/checkpoint.json                          sha256 of every other file

File names and offsets follow from the architecture alone. So every worker writes the slices that it holds straight to
their positions, nothing is gathered, and a file does not depend on the number of workers, the experts' split or the
ZeRO stage; each worker reads back the slices that it needs. All workers must see the folder. A checkpoint is written
under a temporary name, flushed, and renamed: it exists whole or not at all. Other engines read the first three files as
a released model.
"""

import hashlib
import logging
import math
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.model_folder import (
    checkpoint_name,
    read_config,
    read_json,
    require_complete,
    stored_weights,
)
from arctic_model.checkpoint.tensors.files import expect, mapped
from arctic_model.checkpoint.tensors.names import WEIGHT, expert_name, is_expert
from arctic_model.checkpoint.tensors.safetensors_header import StoredTensor, read_header
from arctic_model.checkpoint.tensors.shapes import ROUTER_BIAS
from arctic_model.checkpoint.workers import ALONE, Progress, Workers
from arctic_model.config import ArcticConfig

INDEX = "checkpoint.json"
STATE = "training_state.json"
OPTIMIZER_FILES = "optimizer-*.safetensors"
RECENT_LOSSES = 100
"""Steps whose mean loss ranks a checkpoint."""
CHUNK_BYTES = 2**22
"""Read at once for a hash."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingState:
    """State of training besides tensors.

    `load` [L, E]: assignments per token and expert in the last step; `assignments` [L, E]: of the recent steps, whose
    counts fade; `losses`: of the last RECENT_LOSSES steps that were not skipped; `updates`: number of such steps;
    `gradient_norms`, `skipped_steps`, `norm_conditions`: see `arctic_model.training.spikes`; checkpoints of earlier
    versions have no conditions. Nothing here depends on the steps at which checkpoints are written.
    """

    step: int
    tokens: int
    load: list[list[float]]
    assignments: list[list[float]]
    updates: int
    gradient_norms: list[float]
    skipped_steps: list[int]
    losses: list[float]
    norm_conditions: dict[str, Any] = field(default_factory=dict)

    @property
    def mean_loss(self) -> float:
        """Mean of `losses`; infinite if every step was skipped."""
        return sum(self.losses) / len(self.losses) if self.losses else math.inf


@dataclass(frozen=True)
class Retention:
    """The checkpoints that stay when one is added: the `last` ones, the `best` ones by lowest mean_loss, and those at
    multiples of `every` steps (0: none).

    The newest always stays. With `last` = 1 and `best` = 0 no other checkpoint is left if the newest is damaged. At
    multiples of `weights_every` steps (0: none) the weights alone stay, in bfloat16, even if their checkpoint is
    removed.
    """

    last: int = 2
    best: int = 0
    every: int = 0
    weights_every: int = 0


class Checkpoint:
    """A committed checkpoint, read tensor by tensor. Every method raises CheckpointError if a file cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def state(self) -> TrainingState:
        """The state of training. A checkpoint of weights alone has none."""
        content = read_json(self.folder / STATE)
        try:
            return TrainingState(**content)
        except TypeError as error:
            raise CheckpointError(
                f"{self.folder / STATE}: of another version ({error}). Train again from the start."
            ) from error

    @cached_property
    def config(self) -> ArcticConfig:
        """The architecture."""
        return read_config(self.folder)

    def verify(self, workers: Workers = ALONE, *, weights_only: bool = False) -> "Checkpoint":
        """Hash every file again, divided over `workers`, which all call in step; with `weights_only` none of the
        optimizer's, which need not be there.

        Returns:
            This checkpoint.

        Raises:
            CheckpointError: the same on every worker, with the first file that has changed since it was written.
        """
        digests = [each for each in self._digests if not (weights_only and fnmatch(each[0], OPTIMIZER_FILES))]
        damaged = workers.sum(workers.together(lambda progress: self._damaged(digests, workers, progress)))
        if damaged.any():
            file = self.folder / digests[int(damaged.nonzero()[0])][0]
            raise CheckpointError(f"{file}: not as it was written. Delete {self.folder} to use the one before.", file)
        return self

    def _damaged(
        self, digests: Sequence[tuple[str, str]], workers: Workers, progress: Progress
    ) -> Int[Tensor, " files"]:
        """1 for each file of this worker's part that has changed since it was written, 0 for all others."""
        damaged = torch.zeros(len(digests), dtype=torch.int64)
        for number in range(workers.rank, len(digests), workers.size):
            name, digest = digests[number]
            file = self.folder / name
            damaged[number] = not file.is_file() or file_sha256(file, progress) != digest
        return damaged

    @cached_property
    def _digests(self) -> list[tuple[str, str]]:
        return sorted(read_json(self.folder / INDEX).items())

    def read(self, name: str, kind: str = WEIGHT) -> Tensor:
        """A tensor in the dtype of its file, mapped into memory: its bytes are read from disk on first access.

        Args:
            name: the released model's name.
            kind: "weight", or a kind of optimizer state such as "exp_avg".

        Raises:
            CheckpointError: if the checkpoint holds no such tensor.
        """
        stored = name if kind == WEIGHT else f"{name}.{kind}"
        if stored not in self._stored:
            raise CheckpointError(f"{self.folder}: holds no tensor {stored}. Train again from the start.")
        try:
            return mapped(self._stored[stored])
        except OSError as error:
            raise _unreadable(self._stored[stored].file, error) from error

    def expect(self, name: str) -> None:
        """Have the system read a weight from disk, in the background, before `read` needs it."""
        if stored := self._stored.get(name):
            try:
                expect(stored)
            except OSError as error:
                raise _unreadable(stored.file, error) from error

    @property
    def dtype(self) -> torch.dtype:
        """bfloat16 if all weights but biases of routers are stored so, else float32, which holds them all."""
        dtypes = {stored.dtype for name, stored in self._stored.items() if not name.endswith(ROUTER_BIAS)}
        return torch.bfloat16 if dtypes == {"BF16"} else torch.float32

    @property
    def names(self) -> list[str]:
        """Names of all tensors, those of the optimizer's state included, as the files have them."""
        return list(self._stored)

    def __contains__(self, name: str) -> bool:
        """Whether it holds the tensor or the stack of experts `name`."""
        return (expert_name(name, 0) if is_expert(name) else name) in self._stored

    def read_slice(self, name: str, kind: str, start: int, length: int) -> Float[Tensor, " S"]:
        """`length` values from `start` on of the flat parameter `name`; for a stack, of that of all experts."""
        if not is_expert(name):
            return self.read(name, kind).view(-1)[start : start + length]
        size = self.read(expert_name(name, 0), kind).numel()
        experts = range(start // size, -(-(start + length) // size))
        parts = [self.read(expert_name(name, expert), kind).view(-1) for expert in experts]
        first = start - experts[0] * size
        return parts[0][first : first + length] if len(parts) == 1 else torch.cat(parts)[first : first + length]

    @cached_property
    def _stored(self) -> dict[str, StoredTensor]:
        stored = stored_weights(self.folder)
        for file in sorted(self.folder.glob(OPTIMIZER_FILES)):
            stored |= read_header(file)
        return stored


def open_weights(folder: str | Path, workers: Workers = ALONE, *, with_optimizer: bool = False) -> Checkpoint:
    """Open the model in `folder` for reading: the only way to start from weights, here or elsewhere.

    `.config` of the result is the architecture, `.read(name)` a tensor by the released model's name, mapped into memory
    in the dtype of its file. Neither pickle nor code of the folder is read.

    Args:
        folder: a checkpoint of ours (checked against its hashes), or a Hugging Face directory of an Arctic model or a
            dense one (llama, mistral, qwen2, qwen3), sharded or not, in float32, bfloat16 or float16 (checked for names
            and shapes).
        workers: processes that open it together; all call in step.
        with_optimizer: whether the optimizer's files are checked too.

    Raises:
        CheckpointError: if the folder holds no model, lacks a tensor, is damaged, or is of another architecture.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from arctic_model import ArcticModel, preset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ArcticModel(preset("tiny"), seed=0).save_pretrained(Path(folder) / "model")
        ...     open_weights(Path(folder) / "model").read("model.norm.weight").shape
        torch.Size([32])
    """
    folder = Path(folder)
    if (folder / INDEX).is_file():
        return Checkpoint(folder).verify(workers, weights_only=not with_optimizer)
    require_complete(folder)
    return Checkpoint(folder)


def newest_checkpoint(folder: Path, workers: Workers = ALONE) -> Checkpoint | None:
    """The valid checkpoint of `folder` with the most steps. All `workers` call in step.

    Damaged newer checkpoints are skipped with a warning that names the file.

    Returns:
        None if the folder holds no checkpoint.

    Raises:
        CheckpointError: if every checkpoint is damaged, with the bad file of the newest.
    """
    first_error = None
    for candidate in reversed(_checkpoints_of_first(folder, workers)):
        try:
            return Checkpoint(candidate).verify(workers)
        except CheckpointError as error:
            logger.warning("%s", error)
            first_error = first_error or error
    if first_error:
        raise first_error
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Committed checkpoints of `folder`, oldest first."""
    return sorted(folder.glob("step-*"))


def _checkpoints_of_first(folder: Path, workers: Workers) -> list[Path]:
    """The checkpoints that worker 0 sees, so that all workers read the same ones."""
    steps = [step_of(path) for path in workers.only_first(lambda: checkpoints(folder)) or ()]
    numbers = torch.zeros(int(workers.from_first(torch.tensor(len(steps)))), dtype=torch.int64)
    if not len(numbers):
        return []
    if steps:
        numbers = torch.tensor(steps)
    return [folder / checkpoint_name(step) for step in workers.from_first(numbers).tolist()]


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, by the name of its folder."""
    return int(checkpoint.name.removeprefix("step-"))


def prune(folder: Path, retention: Retention) -> None:
    """Remove the checkpoints that `retention` does not cover."""
    committed = checkpoints(folder)
    retained = {*committed[-retention.last :], *sorted(committed, key=_mean_loss)[: retention.best]}
    retained |= {path for path in committed if retention.every and step_of(path) % retention.every == 0}
    for path in committed:
        if path not in retained:
            _remove(path)


def clear(folder: Path, newest: Path | None) -> None:
    """Remove the damaged checkpoints after `newest`, and the remains of a killed writer."""
    for refused in checkpoints(folder):
        if newest is None or refused.name > newest.name:
            _remove(refused)
    for left in folder.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def file_sha256(file: Path, progress: Progress) -> str:
    """The hexadecimal hash of the file."""
    digest = hashlib.sha256()
    for chunk in _chunks(file):
        digest.update(chunk)
        progress.update()
    return digest.hexdigest()


def _chunks(file: Path) -> Iterator[memoryview]:
    """The file's bytes, each chunk valid until the next is requested."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with file.open("rb", buffering=0) as stream:
        while size := stream.readinto(buffer):
            yield buffer[:size]


def _mean_loss(folder: Path) -> float:
    """Infinite for a checkpoint that cannot be read: it is never the best."""
    try:
        return Checkpoint(folder).state.mean_loss
    except CheckpointError:
        return math.inf


def _remove(folder: Path) -> None:
    # Renamed first: a half removed checkpoint must not look like one. NFS's leftovers of open files are removed when
    # training starts again.
    hidden = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.removed")
    folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{file}: unreadable ({error}). Delete {file.parent} to use the one before.", file)
