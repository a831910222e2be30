"""What the page tells, read from the artifacts of a run: plain numbers by corpus and by phase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from infra.artifact import Artifact, Manifest
from pipelines.artifacts.checkpoint import (
    EXPERT_LOAD_FILE,
    HISTORY_FILE,
    Finetuned,
    WorkerHours,
    checkpoint_folder,
)
from pipelines.artifacts.evaluation import EVIDENCE_FILE, SAMPLES_FILE, Difference, Scores, read_differences
from pipelines.artifacts.formats.parquet import read_table
from pipelines.artifacts.phase_plan import PhasePlan
from pipelines.artifacts.questions import DIFFICULTIES
from pipelines.report.summary.corpus import ByKind, CorpusSummary, read_corpus
from pipelines.report.summary.duplicates import Duplicates, read_duplicates
from pipelines.report.summary.exports import ExportSummary, read_exports


@dataclass(frozen=True)
class PhaseSummary:
    """One phase: what was planned, how the loss went, how the experts were used, what it scores.

    `history`: step, tokens and loss of HISTORY; `amendments`: last step before each, and what it changed;
    `expert_load`: [layers, experts], share of assignments times experts; `evidence`: rows of EVIDENCE; `differences`:
    changes since the phase before, by measure; `hours` and, if a worker has a price, `cost` of training since the run's
    first phase.
    """

    number: int
    plan: PhasePlan
    epochs: Mapping[str, float]
    history: Mapping[str, np.ndarray]
    amendments: Mapping[int, str]
    expert_load: np.ndarray
    scores: Scores
    samples: Sequence[Mapping[str, Any]]
    evidence: Sequence[Mapping[str, Any]]
    differences: Mapping[str, Difference]
    hours: WorkerHours
    cost: float | None

    @property
    def headlines(self) -> list[str]:
        """The measures that stand for their tasks, and the means over tasks."""
        means = [name for name in self.scores.scores if "/" not in name]
        return means + [f"{task}/{measure}" for task, measure in self.scores.headlines.items() if measure]


@dataclass(frozen=True)
class FinetuneSummary:
    """One fine-tune: scores of its start (`before`) and of itself (`after`), changes by measure, and the fraction of
    its tokens that are trained."""

    objective: str
    method: str
    before: Scores
    after: Scores
    differences: Mapping[str, Difference]
    trained_fraction: float


@dataclass(frozen=True)
class RunSummary:
    """Everything the page is made of."""

    title: str
    corpora: Sequence[CorpusSummary]
    duplicates: Duplicates
    phases: Sequence[PhaseSummary]
    finetunes: Sequence[FinetuneSummary]
    exports: Sequence[ExportSummary]
    manifests: Sequence[Manifest]

    @property
    def measures(self) -> list[str]:
        """Names of all scores: means over tasks first, then those of one kind together, easier questions first."""
        return sorted({name for phase in self.phases for name in phase.scores.scores}, key=measure_order)


def read_summary(title: str, artifacts: Mapping[str, Artifact]) -> RunSummary:
    """The summary of a run from its committed stages, by name and subject of their manifests."""
    by_kind: dict[str, dict[str, Artifact]] = {}
    for artifact in artifacts.values():
        by_kind.setdefault(artifact.manifest.name, {})[artifact.manifest.subject] = artifact
    corpora = [read_corpus(name, by_kind) for name in by_kind["source"]]
    phases = [_phase(int(subject), by_kind) for subject in sorted(by_kind["train"], key=int)]
    finetunes = [_finetune(name, by_kind) for name in by_kind.get("finetune", {})]
    duplicates = read_duplicates(by_kind["source"], by_kind["filter"], by_kind["dedup"])
    manifests = [artifact.manifest for artifact in artifacts.values()]
    exports = read_exports(by_kind.get("export", {}), {manifest.key: manifest.id for manifest in manifests})
    return RunSummary(title, corpora, duplicates, phases, finetunes, exports, manifests)


def measure_order(measure: str) -> tuple[bool, str, int, str]:
    """Sorts measures: means over tasks first, then those of one kind together, easier questions first."""
    kind, _, part = measure.partition("/")
    level = part.rpartition("/")[2]
    return bool(part), kind, DIFFICULTIES.index(level) if level in DIFFICULTIES else -1, part


def _finetune(name: str, by_kind: ByKind) -> FinetuneSummary:
    tuned, after, mix = (by_kind[kind][name] for kind in ("finetune", "evaluate", "mix"))
    base = tuned.manifest.inputs["base"]
    starts = {kind: by_kind.get(kind, {}) for kind in ("train", "finetune")}
    subject = next(start for made in starts.values() for start, each in made.items() if each.manifest.key == base)
    how = Finetuned.read(checkpoint_folder(tuned.path))
    assert how
    budgets = {share.corpus: share.budget for share in PhasePlan.read(mix.path).shares}
    trained = {corpus: by_kind["tokenize"][corpus].manifest.metrics for corpus in budgets}
    return FinetuneSummary(
        objective=how.objective,
        method=how.method,
        before=Scores.read(by_kind["evaluate"][subject].path),
        after=Scores.read(after.path),
        differences=read_differences(after.path),
        trained_fraction=sum(budgets[each] * trained[each]["data/trained_fraction"] for each in budgets)
        / sum(budgets.values()),
    )


def _phase(number: int, by_kind: ByKind) -> PhaseSummary:
    mix, train, evaluate = (by_kind[kind][str(number)] for kind in ("mix", "train", "evaluate"))
    trained = [by_kind["train"][str(earlier)].manifest.metrics for earlier in range(1, number + 1)]
    taken = pc.field("skipped") == 0
    history = read_table(train.path / HISTORY_FILE, columns=["step", "tokens", "loss"], filters=taken)
    prefix = "data/epochs_"
    return PhaseSummary(
        number=number,
        plan=PhasePlan.read(mix.path),
        epochs={
            name.removeprefix(prefix): value for name, value in mix.manifest.metrics.items() if name.startswith(prefix)
        },
        history={name: history[name].to_numpy() for name in history.column_names},
        amendments={
            amendment["from_step"]: ", ".join(f"{name} {value}" for name, value in amendment["train"].items())
            for amendment in train.manifest.params.get("amendments", [])
        },
        expert_load=_expert_load(train.path / EXPERT_LOAD_FILE),
        scores=Scores.read(evaluate.path),
        samples=read_table(evaluate.path / SAMPLES_FILE).to_pylist(),
        evidence=read_table(evaluate.path / EVIDENCE_FILE).to_pylist(),
        differences=read_differences(evaluate.path),
        hours=WorkerHours.total(trained),
        cost=sum(metrics["cost"] for metrics in trained) if all("cost" in metrics for metrics in trained) else None,
    )


def _expert_load(file: Path) -> np.ndarray:
    """[layers, experts], no number in a layer without experts; empty of a dense model."""
    load = read_table(file)
    if not len(load):
        return np.zeros((0, 0))
    layers, experts = (int(pc.max(load[column]).as_py()) + 1 for column in ("layer", "expert"))
    relative = np.full((layers, experts), np.nan)
    relative[load["layer"].to_numpy(), load["expert"].to_numpy()] = load["share"].to_numpy() * experts
    return relative
