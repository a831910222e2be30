"""Everything about a run that its user should not miss, each with the stage or corpus that it is about."""

from collections.abc import Iterator, Sequence

from infra.artifact import Manifest
from pipelines.report.summary.corpus import CorpusSummary
from pipelines.report.summary.duplicates import Duplicates
from pipelines.report.summary.phases import PhaseSummary

Warning_ = tuple[str, str]
"""Stage id and message."""


def read_warnings(
    manifests: Sequence[Manifest],
    corpora: Sequence[CorpusSummary],
    duplicates: Duplicates,
    phases: Sequence[PhaseSummary],
) -> list[Warning_]:
    """Warnings of the stages from when they were built, by any run, and those that follow from their results; none is
    repeated."""
    seen: dict[str, str] = {}
    for stage, message in (
        *((manifest.id, message) for manifest in manifests for message in manifest.provenance.get("warnings", ())),
        *_of_data(corpora, duplicates),
        *_of_training(phases),
        *_of_software(manifests),
    ):
        seen.setdefault(message, stage)
    return [(stage, message) for message, stage in seen.items()]


def _of_data(corpora: Sequence[CorpusSummary], duplicates: Duplicates) -> Iterator[Warning_]:
    for corpus in corpora:
        if corpus.loss_note:
            yield f"filter[{corpus.name}]", corpus.loss_note
    for name, alarms in duplicates.alarms.items():
        for alarm in alarms:
            yield f"dedup[{name}]", alarm.message


def _of_training(phases: Sequence[PhaseSummary]) -> Iterator[Warning_]:
    for phase in phases:
        if phase.num_skipped:
            steps = "1 step was" if phase.num_skipped == 1 else f"{phase.num_skipped:,} steps were"
            yield f"train[{phase.number}]", f"{steps} skipped because of a spike; see the curve of the gradient norm."
    last = phases[-1]
    for task, reason in last.scores.skipped.items():
        yield f"evaluate[{last.number}]", f"{task} is not measured: {reason}"


def _of_software(manifests: Sequence[Manifest]) -> Iterator[Warning_]:
    dirty = [manifest.id for manifest in manifests if (manifest.provenance.get("git") or {}).get("dirty")]
    if dirty:
        others = f", as did {len(dirty) - 1} more stages" if len(dirty) > 1 else ""
        yield dirty[0], f"ran code with changes that are in no commit{others}: nobody can check it out again."
