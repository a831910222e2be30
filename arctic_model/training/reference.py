"""Log-probabilities of answers under the weights that a fine-tune starts from. They are computed before the first step,
since later these weights are gone, and no second model takes up memory.

    <folder>/reference/NNNNNNNN.npy         [steps, rows of all workers, P, 2]: the steps after step N
    <folder>/reference/heldout.npy          [rows of all workers, P, 2]: of pairs that are never trained
    <folder>/heldout_preferences.json       metrics of the trained weights on held-out pairs
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.writing import write_json
from arctic_model.layer import ForwardPolicy
from arctic_model.training.engine import Engine
from arctic_model.training.lora.tokens import head_changes
from arctic_model.training.losses.objective import Batch
from arctic_model.training.losses.preference import num_pairs, pair_log_probs, preferences
from arctic_model.training.optimization.settings import Dpo, Optimization

STEPS_PER_FILE = 64
"""Steps that an interruption before the first step repeats at most."""
HELDOUT_PREFERENCES = "heldout_preferences.json"


@dataclass(frozen=True)
class HeldoutPreferences:
    """Means over held-out pairs: loss, implicit rewards, and how often the chosen side has the higher one. At the start
    of a fine-tune all rewards are 0."""

    pairs: int
    loss: float
    margin: float
    accuracy: float
    chosen_reward: float
    rejected_reward: float


class Reference:
    """The reference of every step, in files under `folder`, which survives attempts. Every method is called by all
    workers in step.

    Args:
        engine: the model.
        settings: of the optimization.
        folder: survives attempts.
        steps: all steps of the fine-tune.
        batches: this worker's passes of a step.
        heldout: this worker's passes over held-out pairs, the same number as any other worker's.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Optimization,
        folder: Path,
        steps: range,
        batches: Callable[[int], list[Batch]],
        heldout: Sequence[Batch],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._folder = folder
        self._steps = steps
        self._batches = batches
        self._heldout = heldout
        self._tables: dict[int, np.ndarray] = {}

    def compute(self, *, at_start: bool) -> None:
        """Write the files that are missing.

        Args:
            at_start: whether the weights are those of the start.

        Raises:
            CheckpointError: if a file is missing and these weights are gone.
        """
        missing = [first for first in self._firsts if self._is_missing(self._file(first))]
        missing_heldout = bool(self._heldout) and self._is_missing(self._heldout_file)
        if (missing or missing_heldout) and not at_start:
            raise CheckpointError(
                f"{self._file(self._steps.start).parent}: files are missing, and the weights that they come from have "
                f"been trained since. Remove {self._folder} to fine-tune again."
            )
        for first in missing:
            steps = range(first + 1, min(first + STEPS_PER_FILE, self._steps[-1]) + 1)
            _write(self._file(first), _stacked([self._log_probs(self._batches(step)) for step in steps]))
        if missing_heldout:
            _write(self._heldout_file, self._log_probs(self._heldout).numpy())
        dist.barrier()

    def __call__(self, step: int) -> list[Batch]:
        """This worker's passes of a step with their reference."""
        passes = self._batches(step)
        sizes = [len(batch.ids) for batch in passes]
        start = dist.get_rank() * sum(sizes)
        rows = torch.from_numpy(self._table(step)[start : start + sum(sizes)].copy())
        return [batch._replace(reference=part) for batch, part in zip(passes, rows.split(sizes), strict=True)]

    def measure_heldout(self) -> None:
        """Write the metrics of the weights on held-out pairs, if there are any."""
        file, dpo = self._folder / HELDOUT_PREFERENCES, self._settings.tuning.dpo
        if not self._heldout or dpo is None or not self._is_missing(file):
            return
        log_probs = self._log_probs(self._heldout)
        if dist.get_rank() == 0:
            reference = torch.from_numpy(np.load(self._heldout_file, allow_pickle=False))
            partial = file.with_name(f".{file.name}")
            write_json(partial, asdict(_means(log_probs, reference, dpo)))
            partial.rename(file)
        dist.barrier()

    @property
    def _firsts(self) -> range:
        return range(self._steps.start - 1, self._steps.stop - 1, STEPS_PER_FILE)

    def _file(self, first: int) -> Path:
        return self._folder / "reference" / f"{first:08d}.npy"

    @property
    def _heldout_file(self) -> Path:
        return self._folder / "reference" / "heldout.npy"

    def _is_missing(self, file: Path) -> bool:
        """Whether any worker misses a file, the same on all."""
        missing = torch.tensor([float(not file.exists())], device=self._engine.device)
        dist.all_reduce(missing)
        return bool(missing)

    def _table(self, step: int) -> np.ndarray:
        """[rows of all workers, P, 2] of a step."""
        first = self._firsts[(step - self._steps.start) // STEPS_PER_FILE]
        if first not in self._tables:
            # Two, since the next step's passes are read ahead of this one's.
            self._tables = {**dict([*self._tables.items()][-1:]), first: np.load(self._file(first), allow_pickle=False)}
        rows: np.ndarray = self._tables[first][step - first - 1]
        return rows

    @torch.no_grad()
    def _log_probs(self, passes: Sequence[Batch]) -> Tensor:
        """[rows of all workers, P, 2] by the rank of the worker, on the CPU."""
        device, model = self._engine.device, self._engine.model
        pairs = torch.tensor(max(num_pairs(batch.segments) for batch in passes), device=device)
        dist.all_reduce(pairs, dist.ReduceOp.MAX)
        policy = ForwardPolicy(self._settings.capacity_factor)
        parts = []
        model.eval()
        for batch in passes:
            ids, positions, segments, targets = (part.to(device) for part in batch[:4])
            hidden = model.hidden_states(ids, positions, segments, policy=policy).hidden
            head, changes = model.lm_head.weight, head_changes(model)
            parts.append(pair_log_probs(hidden, head, targets, segments, int(pairs), changes))
        model.train()
        own = torch.cat(parts)
        all_rows = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(all_rows, own)
        return torch.cat(all_rows).cpu()


def _means(log_probs: Tensor, reference: Tensor, dpo: Dpo) -> HeldoutPreferences:
    pairs = preferences(log_probs, reference, dpo)
    count = int(pairs.is_pair.sum())
    better, worse = (float(reward.sum()) / count for reward in (pairs.chosen_reward, pairs.rejected_reward))
    higher = int((pairs.is_pair & (pairs.chosen_reward > pairs.rejected_reward)).sum())
    return HeldoutPreferences(count, float(pairs.loss.sum()) / count, better - worse, higher / count, better, worse)


def _stacked(steps: Sequence[Tensor]) -> np.ndarray:
    """[steps, rows, P, 2]; absent pairs are no numbers."""
    widest = max(step.shape[1] for step in steps)
    table = torch.full((len(steps), len(steps[0]), widest, 2), torch.nan, dtype=torch.float64)
    for number, step in enumerate(steps):
        table[number, :, : step.shape[1]] = step
    return table.numpy()


def _write(file: Path, content: np.ndarray) -> None:
    """On worker 0, whole or not at all."""
    if dist.get_rank():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    with partial.open("wb") as stream:
        np.save(stream, content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(file)
