"""Saving and resuming: the link between the training loop, its checkpoints and its history.

At a checkpoint training waits only for a copy of this worker's slices of weights and optimizer state. A thread writes
the copy while training goes on. At most one checkpoint is being written.
"""

import secrets
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.model_folder import checkpoint_name
from arctic_model.checkpoint.reading import (
    Checkpoint,
    Retention,
    TrainingState,
    clear,
    newest_checkpoint,
    prune,
    step_of,
)
from arctic_model.checkpoint.tensors.names import ParameterSlice
from arctic_model.checkpoint.weight_copies import copy_weights
from arctic_model.checkpoint.workers import Progress, Workers
from arctic_model.checkpoint.writing import write_checkpoint
from arctic_model.training import history
from arctic_model.training.engine import Engine
from arctic_model.training.engine.engine import ReadSlice
from arctic_model.training.first_weights import FirstWeights, InitialWeights
from arctic_model.training.history import Record

CHECKPOINTS = "checkpoints"
HISTORY = "history.jsonl"


def weights_folder(folder: Path) -> Path:
    """Folder of the weights that are stored in bfloat16: next to `folder`, which is removed when training is done."""
    return folder.with_name(f"{folder.name.removesuffix('.state')}.weights")


class Saver:
    """Checkpoints of `engine` under `folder`, which survives attempts. Every method is called by all workers in step.

    Leaving the context waits for the checkpoint being written. Errors of the writer are raised by the next call.

    Args:
        engine: holds weights and optimizer state.
        folder: survives attempts.
        retention: the checkpoints that stay.
        collective_timeout_s: all workers fail if one does not answer, or its disk makes no progress, for so long.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        retention: Retention,
        collective_timeout_s: float = 600.0,
    ) -> None:
        self._engine = engine
        self._config = engine.model.config
        self._layout = engine.layout()
        self._checkpoints = folder / CHECKPOINTS
        self._history = folder / HISTORY
        self._weights = weights_folder(folder)
        self._retention = retention
        self._workers = _new_workers(collective_timeout_s)
        self._staging = Staging(engine.device)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[Path] | None = None
        self._last_good: Path | None = None
        self.first_updates = 0
        """Updates behind the moments that training began with, if it began with any."""

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, _: type | None, error: BaseException | None, __: TracebackType | None) -> None:
        try:
            self._finish_write()
        except Exception as late:
            if error is None:
                raise
            error.add_note(f"The checkpoint that was being written is lost as well: {late}")
        finally:
            self._thread.shutdown()
            if self._workers.group is not None:
                dist.destroy_process_group(self._workers.group)

    def resume(
        self, start_from: Path | None, initial: InitialWeights | None = None, steps: range | None = None
    ) -> tuple[TrainingState | None, Sequence[Record]]:
        """Load the newest checkpoint, or `start_from` if there is none yet, or else the weights of `initial`.

        Of a checkpoint of a step outside `steps` only the state is read.

        Returns:
            The state of the loaded checkpoint, None if training starts from weights alone; and on worker 0 the records
            of the steps up to it.

        Raises:
            CheckpointError: if all checkpoints are damaged.
        """
        workers = self._workers
        newest = newest_checkpoint(self._checkpoints, workers)
        start = newest or (Checkpoint(start_from).verify(workers) if start_from else None)
        records = workers.only_first(lambda: self._clean_up(newest, start)) or ()
        if newest:
            # A kill right after a commit leaves its copy out.
            self._copy_weights(newest.folder)
        if initial is not None and (start is None or self._engine.trains_adapters):
            first = initial.open(self._config, workers)
            workers.together(lambda progress: self._load_first(first, progress))
        if start is None:
            return None, records
        if steps is None or start.state.step in steps:
            workers.together(lambda progress: self._load(start, progress))
        self._last_good = start.folder
        return start.state, records

    def save(self, state: TrainingState, records: Sequence[Record]) -> None:
        """Copy weights and optimizer state, and start to write them. Waits for the checkpoint before."""
        self._finish_write()
        slices = [*self._staging.copied(self._engine.parameter_slices()), *self._engine.frozen_slices()]
        self._written = self._thread.submit(self._write, state, slices, records)

    def poll(self) -> None:
        """Raise the error of the checkpoint being written, if it has one by now."""
        if self._written is not None and self._written.done():
            self._finish_write()

    @property
    def is_idle(self) -> bool:
        """Whether no checkpoint is being written, as of the last poll."""
        return self._written is None

    def last_good(self) -> Path | None:
        """The newest checkpoint, after the one being written is committed."""
        self._finish_write()
        return self._last_good

    def _finish_write(self) -> None:
        if self._written is not None:
            written, self._written = self._written, None
            self._last_good = written.result()

    def _write(self, state: TrainingState, slices: Iterable[ParameterSlice], records: Sequence[Record]) -> Path:
        """History first: no checkpoint exists without its history, and resuming cuts history without a checkpoint."""
        folder = self._checkpoints / checkpoint_name(state.step)
        write_checkpoint(
            folder,
            self._config,
            state,
            self._layout,
            slices,
            self._workers,
            before_commit=lambda: history.append(self._history, records),
        )
        self._copy_weights(folder)
        self._workers.only_first(lambda: prune(self._checkpoints, self._retention))
        return folder

    def _copy_weights(self, checkpoint: Path) -> None:
        every = self._retention.weights_every
        if every and step_of(checkpoint) % every == 0:
            copy_weights(checkpoint, self._weights / checkpoint.name, self._workers)

    def _clean_up(self, newest: Checkpoint | None, start: Checkpoint | None) -> Sequence[Record]:
        """Remove the leftovers of a killed attempt beyond `newest`, and cut the history to `start`. Returns the
        remaining history."""
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        clear(self._checkpoints, newest.folder if newest else None)
        for left in self._weights.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)
        return history.truncate(self._history, start.state.step if start else 0)

    def _load(self, checkpoint: Checkpoint, progress: Progress) -> None:
        if checkpoint.config.with_context_of(self._config) != self._config:
            raise CheckpointError(
                f"{checkpoint.folder}: was trained as {checkpoint.config}, the recipe has {self._config}. "
                "Give the run its old model section back, or train from the start."
            )
        self._engine.load(checkpoint.state.updates, _reporting(checkpoint.read_slice, progress))

    def _load_first(self, first: FirstWeights, progress: Progress) -> None:
        read = _reporting(first.read_slice, progress)
        if first.with_optimizer:
            self._engine.load(first.updates, read)
        else:
            self._engine.load_weights(read)
        self.first_updates = first.updates


def _reporting(read_slice: ReadSlice, progress: Progress) -> ReadSlice:
    """`read_slice`, with every read reported."""

    def read(name: str, kind: str, start: int, length: int) -> Tensor:
        progress.update()
        return read_slice(name, kind, start, length)

    return read


class Staging:
    """Host memory for a copy of this worker's slices, allocated once; pinned if the slices are on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory = torch.empty(0)

    @torch.no_grad()
    def copied(self, slices: Iterable[ParameterSlice]) -> list[ParameterSlice]:
        """Copies, which the next call overwrites."""
        views = list(slices)
        sizes = [view.values.numel() for view in views]
        if self._memory.numel() != sum(sizes):
            self._memory = torch.empty(sum(sizes), pin_memory=self._device.type == "cuda")
        copies = self._memory.split(sizes)
        torch._foreach_copy_(copies, [view.values for view in views], non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return [view._replace(values=copy) for view, copy in zip(views, copies, strict=True)]


def _new_workers(collective_timeout_s: float) -> Workers:
    """All workers, in a separate process group on the CPU: the writing thread uses it during training."""
    size, limit = dist.get_world_size(), timedelta(seconds=collective_timeout_s)
    group = dist.new_group(backend="gloo", timeout=limit) if size > 1 else None
    workers = Workers(dist.get_rank(), size, group, patience_s=collective_timeout_s)
    token = workers.from_first(torch.tensor(secrets.randbits(31)))
    return replace(workers, token=f"{int(token):08x}")
