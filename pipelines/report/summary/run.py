"""The content of the page, read from the artifacts of a run: plain numbers by corpus and by phase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.artifact import Artifact, Manifest
from infra.inputs import nodes_of
from pipelines.artifacts.checkpoint import (
    Finetuned,
    checkpoint_folder,
)
from pipelines.artifacts.evaluation import Difference, Scores, read_differences
from pipelines.artifacts.questions import DIFFICULTIES
from pipelines.artifacts.sequence_order.phase_plan import PhasePlan
from pipelines.report.summary.corpus import ByKind, CorpusSummary, read_corpus
from pipelines.report.summary.duplicates import Duplicates, read_duplicates
from pipelines.report.summary.exports import ExportSummary, read_exports
from pipelines.report.summary.phases import PhaseSummary, read_phase
from pipelines.report.summary.settings import Settings, read_settings
from pipelines.report.summary.warnings import Warning_, read_warnings

HELDOUT = "heldout/"
"""Before the names of a fine-tune's measures on held-out pairs of answers."""


@dataclass(frozen=True)
class FinetuneSummary:
    """One fine-tune: scores of its start (`before`) and of itself (`after`), changes by measure, the fraction of its
    tokens that are trained, and of pairs of answers the measures on those held out."""

    objective: str
    method: str
    before: Scores
    after: Scores
    differences: Mapping[str, Difference]
    trained_fraction: float
    heldout: Mapping[str, float]


@dataclass(frozen=True)
class RunSummary:
    """Everything the page is made of."""

    title: str
    settings: Settings
    corpora: Sequence[CorpusSummary]
    duplicates: Duplicates
    phases: Sequence[PhaseSummary]
    finetunes: Sequence[FinetuneSummary]
    exports: Sequence[ExportSummary]
    warnings: Sequence[Warning_]
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
    phases = [read_phase(int(subject), by_kind) for subject in sorted(by_kind["train"], key=int)]
    finetunes = [_finetune(name, by_kind) for name in by_kind.get("finetune", {})]
    duplicates = read_duplicates(by_kind["source"], by_kind["filter"], by_kind["dedup"])
    manifests = [artifact.manifest for artifact in artifacts.values()]
    exports = read_exports(by_kind.get("export", {}), {manifest.key: manifest.id for manifest in manifests})
    settings = read_settings([by_kind["train"][str(phase.number)].manifest for phase in phases])
    warnings = read_warnings(manifests, corpora, duplicates, phases)
    return RunSummary(title, settings, corpora, duplicates, phases, finetunes, exports, warnings, manifests)


def measure_order(measure: str) -> tuple[bool, str, int, str]:
    """Sorts measures: means over tasks first, then those of one kind together, easier questions first."""
    kind, _, part = measure.partition("/")
    level = part.rpartition("/")[2]
    return bool(part), kind, DIFFICULTIES.index(level) if level in DIFFICULTIES else -1, part


def _finetune(name: str, by_kind: ByKind) -> FinetuneSummary:
    tuned, after, mix = (by_kind[kind][name] for kind in ("finetune", "evaluate", "mix"))
    base = tuned.manifest.inputs["base"]
    starts = {kind: by_kind.get(kind, {}) for kind in ("train", "finetune", "weights")}
    subject = next(start for made in starts.values() for start, each in made.items() if each.manifest.key == base)
    how = Finetuned.read(checkpoint_folder(tuned.path))
    assert how
    budgets = {share.corpus: share.budget for share in PhasePlan.read(mix.path).shares}
    by_key = {each.manifest.key: each.manifest.metrics for each in by_kind["tokenize"].values()}
    tokens = nodes_of("tokens", tuned.manifest.inputs)
    trained = {corpus: by_key[tokens[corpus]] for corpus in budgets}
    return FinetuneSummary(
        objective=how.objective,
        method=how.method,
        before=Scores.read(by_kind["evaluate"][subject].path),
        after=Scores.read(after.path),
        differences=read_differences(after.path),
        trained_fraction=sum(budgets[each] * trained[each].get("data/trained_fraction", 1.0) for each in budgets)
        / sum(budgets.values()),
        heldout={
            name.removeprefix(HELDOUT): value
            for name, value in tuned.manifest.metrics.items()
            if name.startswith(HELDOUT)
        },
    )
