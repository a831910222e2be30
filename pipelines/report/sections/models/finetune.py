"""The part of the page on fine-tunes: questions that each answers better than the checkpoint that it started from, and
its forgetting."""

from collections.abc import Sequence

from pipelines.artifacts.evaluation import Scores
from pipelines.report.html.markup import Html, section, table, text
from pipelines.report.sections.models.scores import change_notes, measure_cell, written
from pipelines.report.summary.run import FinetuneSummary, measure_order


def finetune_section(finetunes: Sequence[FinetuneSummary]) -> Html:
    """One table for each fine-tune: every measure of its start and of itself."""
    return section(
        "fine-tuning",
        "Base against instruct",
        "Each fine-tune and the checkpoint that it started from, on the same items. A fine-tune is asked in the chat "
        "if it was trained on it, its start in its own form. Bits per byte on the documents that pretraining held out "
        "measure forgetting; lower is better.",
        *(_comparison(each) for each in finetunes),
    )


def _comparison(tuned: FinetuneSummary) -> Html:
    names = sorted({*tuned.before.scores, *tuned.after.scores}, key=measure_order)
    rows = [
        [
            measure_cell(name),
            _score(tuned.before, name),
            _score(tuned.after, name),
            text("; ".join(change_notes(tuned.differences.get(name)))),
        ]
        for name in names
    ]
    rows.append([text("tokens of this training"), text("start"), text(f"{tuned.after.tokens:,}"), text("")])
    rows.append([text("trained fraction of tokens"), text(""), text(f"{tuned.trained_fraction:.1%}"), text("")])
    rows += [
        [text(f"held-out pairs: {name}"), text(start), text(f"{value:.4g}"), text("")]
        for name, start, value in _pairs(tuned)
    ]
    header = ["measure", tuned.before.phase, f"{tuned.after.phase} ({tuned.objective}, {tuned.method})", "change"]
    return table(header, rows, numbers=2)


def _pairs(tuned: FinetuneSummary) -> list[tuple[str, str, float]]:
    """Name, value at the start and value of each measure on held-out pairs of answers: implicit rewards begin at 0."""
    if not tuned.heldout:
        return []
    names = {"margin": "reward margin", "accuracy": "chosen answer has the higher reward"}
    starts = {"margin": "0", "accuracy": ""}
    return [(text, starts[name], tuned.heldout[name]) for name, text in names.items()]


def _score(scores: Scores, name: str) -> Html:
    score = scores.scores.get(name)
    return written(score) if score else text("not measured")
