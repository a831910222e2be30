"""The part of the page on scores: every measure after every phase, how sure it is, and which changes are noise."""

from collections.abc import Sequence

from pipelines.artifacts.evaluation import Difference, Score, interval_text, score_text
from pipelines.report.figures.retrieval import is_cell
from pipelines.report.figures.style import measure_name
from pipelines.report.html.markup import Html, element, grid, section, table, text
from pipelines.report.summary.phases import PhaseSummary
from pipelines.report.summary.run import RunSummary
from pipelines.report.summary.settings import FLOPS_PER_PARAMETER

WORKER_HOURS = {
    "worker_hours": "worker hours of training",
    "lost_worker_hours": "of these: lost steps, trained again",
    "waiting_worker_hours": "of these: start-up, checkpoints, waiting",
}


def scores_section(summary: RunSummary, drawings: Sequence[Html]) -> Html:
    """One row a measure, one column a phase; then the tasks that were not measured, and the protocol of the others."""
    header = ["measure", *(f"{phase.number} {phase.scores.phase}" for phase in summary.phases)]
    names = [name for name in summary.measures if not is_cell(name)]
    rows = [[measure_cell(name), *(_cell(phase, name) for phase in summary.phases)] for name in names]
    return section(
        "scores",
        "Scores",
        "Each phase's checkpoint on text and questions that training never saw, with 95 % intervals, unless fewer "
        "than five units are independent. Lower is better for bits per byte, higher for everything else, from 0 to 1. "
        "A change since the previous phase is called noise if one as large occurs by chance in more than one of "
        "twenty pairs of equal checkpoints.",
        grid(drawings),
        table(header, [*rows, *_compute(summary.phases)], numbers=len(summary.phases)),
        _notes(summary.phases[-1]),
        _skipped(summary.phases[-1]),
        _protocols(summary.phases[-1]),
    )


def measure_cell(name: str) -> Html:
    """The name of a measure."""
    kind, _, part = name.partition("/")
    return Html(f"{text(measure_name(kind))} {element('code', text(part))}")


def _cell(phase: PhaseSummary, measure: str) -> Html:
    score = phase.scores.scores.get(measure)
    if score is None:
        return text("not measured")
    if measure.partition("/")[0] in phase.scores.asked_before:
        return written(score, [*_chance(score), "asked differently than before"])
    return written(score, [*_chance(score), *change_notes(phase.differences.get(measure))])


def written(score: Score, notes: Sequence[str] = ()) -> Html:
    """A score with its interval and n, and `notes` below."""
    interval = f"{interval_text(score)}, n = {score.n:,}"
    return Html(
        f"<b>{score_text(score.value)}</b>{''.join(element('small', text(note)) for note in (interval, *notes))}"
    )


def _chance(score: Score) -> list[str]:
    """Nothing if a measure knows no guessing, or guessing is always wrong."""
    if not score.chance:
        return []
    where = "above" if score.is_above_chance else "not above"
    return [f"{where} chance ({score_text(score.chance)}), centred {score_text(score.centred or 0.0)}"]


def change_notes(change: Difference | None) -> list[str]:
    """A change and whether it is noise; nothing if there is none to compare with."""
    if change is None:
        return []
    verdict = "noise" if change.is_noise else "more than noise"
    return [f"{score_text(change.value, sign=True)}: {verdict} (p = {change.p_value:.2g})"]


def _compute(phases: Sequence[PhaseSummary]) -> list[list[Html]]:
    rows = [[text("tokens seen"), *(text(f"{phase.scores.tokens:,}") for phase in phases)]]
    if all(phase.scores.active_parameters for phase in phases):
        products = [phase.scores.active_parameters * phase.scores.tokens for phase in phases]
        flops = [FLOPS_PER_PARAMETER * product for product in products]
        rows.append([text("training FLOPs, estimated"), *(text(f"{each:.3g}") for each in flops)])
    rows += [
        [text(title), *(text(f"{getattr(phase.hours, name):.3g}") for phase in phases)]
        for name, title in WORKER_HOURS.items()
    ]
    costs = [phase.cost for phase in phases if phase.cost is not None]
    if len(costs) == len(phases):
        rows.append([text("cost of training"), *(text(f"{cost:,.2f}") for cost in costs)])
    return rows


def _notes(phase: PhaseSummary) -> Html:
    rows = [[text(name), text(note)] for name, note in phase.scores.notes.items()]
    return table(["task", "to be read with"], rows) if rows else Html("")


def _skipped(phase: PhaseSummary) -> Html:
    rows = [[text(name), text(reason)] for name, reason in phase.scores.skipped.items()]
    return table(["not measured", "why"], rows) if rows else Html("")


def _protocols(phase: PhaseSummary) -> Html:
    rows = [[element("code", text(name)), text(protocol)] for name, protocol in phase.scores.protocols.items()]
    if not rows:
        return Html("")
    summary = element("summary", text("how each task was asked and judged"))
    return element("details", summary, table(["task", "protocol"], rows))
