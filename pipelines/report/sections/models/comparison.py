"""The part of the page about another run: differences of its recipe, and changed scores."""

from collections.abc import Sequence

from pipelines.artifacts.comparison import Change
from pipelines.artifacts.evaluation import interval_text, score_text
from pipelines.report.html.markup import Html, element, grid, section, table, text
from pipelines.report.sections.models.scores import measure_cell, written
from pipelines.report.summary.comparison import RunComparison


def comparison_section(comparison: RunComparison, drawings: Sequence[Html]) -> Html:
    """Recipes, curves and paired differences of the two runs."""
    lead = (
        f"This run, {comparison.name}, beside {comparison.other}. Differences are paired item by item over the items "
        "that both last checkpoints were asked, and p-values are corrected by Holm's method for all of them: a change "
        "is noise if chance alone brings one as large too often."
    )
    return section(
        "comparison",
        "Comparison",
        lead,
        element("h3", text("Recipes")),
        _recipes(comparison),
        element("h3", text("Training")),
        grid(drawings),
        element("h3", text("Scores of the last checkpoints")),
        _scores(comparison),
    )


def _recipes(comparison: RunComparison) -> Html:
    if not comparison.recipe_changes:
        return element("p", text("The recipes are equal in every field."))
    rows = [
        [element("code", text(field)), element("code", text(before)), element("code", text(after))]
        for field, before, after in comparison.recipe_changes
    ]
    return table(["field", comparison.other, comparison.name], rows)


def _scores(comparison: RunComparison) -> Html:
    before, after = comparison.before, comparison.after
    rows = []
    for measure in dict.fromkeys([*after.compared, *before.compared]):
        scores = [each.scores.get(measure) for each in (before, after)]
        cells = [written(score) if score else text("not measured") for score in scores]
        rows.append([measure_cell(measure), *cells, _change(comparison, measure)])
    return table(["measure", comparison.other, comparison.name, "difference"], rows, numbers=3)


def _change(comparison: RunComparison, measure: str) -> Html:
    if measure.partition("/")[0] in comparison.asked_otherwise:
        return text("asked differently")
    change = comparison.changes.get(measure)
    return _written(change, measure) if change else text("no common item")


def _written(change: Change, measure: str) -> Html:
    difference = change.difference
    is_better = (difference.value > 0) != ("bits_per_byte" in measure)
    css = "" if change.is_noise else "better" if is_better else "worse"
    verdict = "noise" if change.is_noise else "better" if is_better else "worse"
    notes = (f"{interval_text(difference)}, n = {difference.n:,}", f"{verdict} (p = {change.adjusted_p:.2g})")
    value = element("span", text(score_text(difference.value, sign=True)), css=css)
    return Html(value + "".join(element("small", text(note)) for note in notes))
