"""One phase of a run: its plan, its training step by step, and the scores of its checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.checkpoint import (
    EXPERT_LOAD_FILE,
    HISTORY_FILE,
    THROUGHPUT,
    WorkerHours,
)
from pipelines.artifacts.evaluation import EVIDENCE_FILE, SAMPLES_FILE, Difference, Scores, read_differences
from pipelines.artifacts.formats.parquet import ParquetFile, read_table
from pipelines.artifacts.sequence_order.phase_plan import PhaseOrder
from pipelines.report.summary.corpus import ByKind

CURVES = ("step", "tokens", "loss", "gradient_norm", "learning_rate", "max_expert_load")
"""Columns of HISTORY that are drawn; a model without experts lacks the last."""


@dataclass(frozen=True)
class PhaseSummary:
    """One phase: its plan, its loss, the load of its experts, its scores.

    `history`: CURVES of the steps that were taken; `loss_by_corpus`: float64 [steps] by corpus, NaN if a step read none
    of it; `num_skipped`: steps without an update; `throughput`: float64 [points, 2], tokens and tokens per second of
    all workers, empty if it was not measured; `amendments`: last step before each, and its changes;
    `expert_load`: [layers, experts], share of assignments times experts; `evidence`: rows of EVIDENCE; `differences`:
    changes since the phase before, by measure; `hours` and, if a worker has a price, `cost` of training since the run's
    first phase, `own_hours` of this one alone.
    """

    number: int
    plan: PhaseOrder
    epochs: Mapping[str, float]
    history: Mapping[str, np.ndarray]
    loss_by_corpus: Mapping[str, np.ndarray]
    num_skipped: int
    throughput: np.ndarray
    amendments: Mapping[int, str]
    expert_load: np.ndarray
    scores: Scores
    samples: Sequence[Mapping[str, Any]]
    evidence: Sequence[Mapping[str, Any]]
    differences: Mapping[str, Difference]
    hours: WorkerHours
    own_hours: WorkerHours
    cost: float | None

    @property
    def headlines(self) -> list[str]:
        """The headline measures of the tasks, and the means over tasks."""
        means = [name for name in self.scores.scores if "/" not in name]
        return means + [f"{task}/{measure}" for task, measure in self.scores.headlines.items() if measure]


def read_phase(number: int, by_kind: ByKind) -> PhaseSummary:
    mix, train, evaluate = (by_kind[kind][str(number)] for kind in ("mix", "train", "evaluate"))
    trained = [by_kind["train"][str(earlier)].manifest.metrics for earlier in range(1, number + 1)]
    steps, num_skipped = _history(train.path / HISTORY_FILE)
    prefix = "data/epochs_"
    return PhaseSummary(
        number=number,
        plan=PhaseOrder.read(mix.path),
        epochs={
            name.removeprefix(prefix): value for name, value in mix.manifest.metrics.items() if name.startswith(prefix)
        },
        history={name: steps[name].to_numpy() for name in CURVES if name in steps.column_names},
        loss_by_corpus=_loss_by_corpus(steps["loss_by_corpus"]),
        num_skipped=num_skipped,
        throughput=np.array(train.manifest.provenance.get("measured", {}).get(THROUGHPUT, [])).reshape(-1, 2),
        amendments={
            amendment["from_step"]: ", ".join(f"{name} {value}" for name, value in _changes(amendment).items())
            for amendment in train.manifest.params.get("amendments", [])
        },
        expert_load=_expert_load(train.path / EXPERT_LOAD_FILE),
        scores=Scores.read(evaluate.path),
        samples=read_table(evaluate.path / SAMPLES_FILE).to_pylist(),
        evidence=read_table(evaluate.path / EVIDENCE_FILE).to_pylist(),
        differences=read_differences(evaluate.path),
        hours=WorkerHours.total(trained),
        own_hours=WorkerHours.total(trained[-1:]),
        cost=sum(metrics["cost"] for metrics in trained) if all("cost" in metrics for metrics in trained) else None,
    )


def _history(file: Path) -> tuple[pa.Table, int]:
    """The steps that changed weights, and the number of those that were skipped."""
    columns = [*CURVES, "skipped", "loss_by_corpus"]
    stored = ParquetFile(file).metadata.schema.to_arrow_schema().names
    present = [name for name in columns if name in stored]
    table = read_table(file, columns=present)
    is_taken = pc.equal(table["skipped"], 0)
    return table.filter(is_taken), len(table) - int(pc.sum(is_taken).as_py() or 0)


def _loss_by_corpus(losses: pa.ChunkedArray) -> dict[str, np.ndarray]:
    steps: list[dict[str, float]] = [dict(pairs) for pairs in losses.to_pylist()]
    names = sorted({name for step in steps for name in step})
    return {name: np.array([step.get(name, np.nan) for step in steps]) for name in names}


def _changes(amendment: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of an amendment, by field."""
    tables = {name: amendment[name] for name in ("weights", "weights_to") if name in amendment}
    shares = {
        name: " ".join(f"{corpus} {share:g}" for corpus, share in table.items()) for name, table in tables.items()
    }
    return {**amendment["train"], **shares}


def _expert_load(file: Path) -> np.ndarray:
    """[layers, experts], NaN in a layer without experts; empty of a dense model."""
    load = read_table(file)
    if not len(load):
        return np.zeros((0, 0))
    layers, experts = (int(pc.max(load[column]).as_py()) + 1 for column in ("layer", "expert"))
    relative = np.full((layers, experts), np.nan)
    relative[load["layer"].to_numpy(), load["expert"].to_numpy()] = load["share"].to_numpy() * experts
    return relative
