"""The page of one run of a store, whether it built its report or not, and compared with another run if asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.plan import changed_fields
from pipelines.artifacts.evaluation import Scores
from pipelines.errors import NotInStoreError, OptionError
from pipelines.evaluate.compare_stage import Evaluated, changes_between
from pipelines.lineage.runs import RunRecord, find_run, read_runs, results_of
from pipelines.report.html.markup import Html
from pipelines.report.summary.comparison import RunComparison
from pipelines.report.summary.run import RunSummary, read_summary

NEEDED = ("source", "score", "filter", "dedup", "tokenize", "mix", "train", "evaluate")
"""Stages without which there is no page."""


def write_report(store: Path | str, run: str, against: str | None, out: Path) -> Path:
    """Write the page of `run`, an id or its end ("" for the newest), as one file.

    Args:
        store: Folder or address of the store.
        run: The run.
        against: Another run of the store, whose recipe, curves and scores are shown next to those of `run`.
        out: The file, replaced if it exists.

    Raises:
        UserError: There is no such run, or it has no trained and evaluated phase.
    """
    # matplotlib takes a second to import.
    from pipelines.report import page
    from pipelines.report.figures.draw import CAPTIONS, draw_all
    from pipelines.report.figures.style import figure_style, inline_svg

    runs = read_runs(store)
    record = find_run(runs, run, store)
    artifacts = _results(record, store)
    summary = read_summary(record.name, artifacts)
    with figure_style():
        svgs = {name: inline_svg(figure, CAPTIONS[name]) for name, figure in draw_all(summary).items()}
        more: dict[str, Html] = {}
        if against is not None:
            other = find_run(runs, against, store)
            if other.run_id == record.run_id:
                raise OptionError(f"--against {against}: this is the run itself. Name another of `arctic runs`.")
            more["comparison"] = _drawn(_compared(record, summary, artifacts, other, _results(other, store)))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page.build(summary, svgs, more), encoding="utf-8")
    return out


def recipe_changes(before: RunRecord, after: RunRecord) -> list[tuple[str, str, str]]:
    """Fields in which the recipes of two runs differ, without the digests of their inputs."""
    changes = changed_fields(_plain(before), _plain(after))
    return [(field, _written(old), _written(new)) for field, old, new in changes]


def compared_results(
    before: RunRecord, after: RunRecord, store: Path | str
) -> dict[str, tuple[float | None, float | None]]:
    """Losses, worker-hours and headline scores of two runs by name, None if a run lacks one."""
    values = [_figures(results_of(run, store)) for run in (before, after)]
    names = dict.fromkeys([*values[1], *values[0]])
    return {name: (values[0].get(name), values[1].get(name)) for name in names}


def _figures(artifacts: Mapping[str, Artifact]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for stage, artifact in artifacts.items():
        name, metrics = artifact.manifest.name, artifact.manifest.metrics
        if name in ("train", "finetune"):
            figures |= {f"{stage} {each}": metrics[each] for each in ("loss", "worker_hours") if each in metrics}
        elif name == "evaluate":
            scores = Scores.read(artifact.path)
            figures |= {f"{stage} {measure}": scores.scores[measure].value for measure in scores.compared}
    return figures


def _written(value: Any) -> str:
    return "not set" if value is None else str(value)


def _results(record: RunRecord, store: Path | str) -> dict[str, Artifact]:
    """Results of all stages but the report. Raises NotInStoreError if the page needs one that is not there."""
    results = results_of(record, store)
    names = {artifact.manifest.name for artifact in results.values()}
    absent = [stage for stage in record.keys if stage not in results and stage.partition("[")[0] in NEEDED]
    if absent or not names.issuperset(NEEDED):
        lacking = ", ".join(absent[:3]) or "no phase was trained and evaluated"
        raise NotInStoreError(f"run {record.run_id}: its page needs results that it lacks ({lacking}). Finish the run.")
    return {stage: artifact for stage, artifact in results.items() if artifact.manifest.name != "report"}


def _compared(
    record: RunRecord,
    summary: RunSummary,
    artifacts: Mapping[str, Artifact],
    other: RunRecord,
    other_artifacts: Mapping[str, Artifact],
) -> RunComparison:
    pair = (
        Evaluated.read(other.run_id, _last_evaluation(other_artifacts).path),
        Evaluated.read(record.run_id, _last_evaluation(artifacts).path),
    )
    (changes,), (asked,) = changes_between([pair])
    return RunComparison(
        name=record.run_id,
        other=other.run_id,
        summary=summary,
        other_summary=read_summary(other.name, other_artifacts),
        recipe_changes=recipe_changes(other, record),
        before=pair[0].scores,
        after=pair[1].scores,
        changes=changes,
        asked_otherwise=asked,
    )


def _plain(record: RunRecord) -> Mapping[str, Any]:
    """The declarations of a recipe, without the digests of its inputs and the folders that it came from."""
    return {**(record.recipe.get("run") or {}), "corpora": record.recipe.get("corpora", {})}


def _last_evaluation(artifacts: Mapping[str, Artifact]) -> Artifact:
    phases = [
        each for each in artifacts.values() if each.manifest.name == "evaluate" and each.manifest.subject.isdigit()
    ]
    return max(phases, key=lambda artifact: int(artifact.manifest.subject))


def _drawn(comparison: RunComparison) -> Html:
    from pipelines.report.figures.comparison import CAPTIONS, draw_comparison
    from pipelines.report.figures.style import inline_svg
    from pipelines.report.html.markup import figure
    from pipelines.report.sections.models.comparison import comparison_section

    drawn = draw_comparison(comparison)
    return comparison_section(
        comparison, [figure(inline_svg(each, CAPTIONS[name]), CAPTIONS[name]) for name, each in drawn.items()]
    )
