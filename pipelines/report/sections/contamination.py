"""The part of the page on contamination: the evaluation items that occur in the training corpora, and the scores
without them."""

from pipelines.report.figures.style import measure_name
from pipelines.report.html.markup import Html, element, section, table, text
from pipelines.report.sections.models.scores import written
from pipelines.report.summary.phases import PhaseSummary

EVIDENCE_SHOWN = 20
"""The largest shares; tables/contamination.parquet has all."""


def contamination_section(phase: PhaseSummary) -> Html:
    """One row a task, and the evidence. Items are the same for every phase, and so are the corpora."""
    tasks = [task for task, counts in phase.scores.contamination.items() if counts.num_looked_for]
    if not tasks:
        return section(
            "contamination",
            "Contamination",
            "Nobody looked: no corpus names an evaluation file of a task in score.decontaminate, so nothing is known "
            "of items that training may have seen.",
        )
    lead = (
        "Items most of whose words occur, in their order, in a kept document of a corpus, and the scores without "
        "them. Items of fewer than eight words are not searched for."
    )
    header = ["task", "items", "looked for", "contaminated", "score on all", "on clean items"]
    means = [name for name in phase.scores.scores if "/" not in name and f"{name}/clean" in phase.scores.scores]
    rows = [*(_row(phase, task) for task in tasks), *(_mean(phase, name) for name in means)]
    return section("contamination", "Contamination", lead, table(header, rows, numbers=5), _evidence(phase))


def _row(phase: PhaseSummary, task: str) -> list[Html]:
    contamination = phase.scores.contamination[task]
    measure = f"{task}/{phase.scores.headlines[task]}"
    clean = _score(phase, f"{measure}/clean") if contamination.num_contaminated else text("the same")
    if contamination.num_contaminated == contamination.num_items:
        clean = text("no item is clean")
    counts = [
        text(f"{count:,}")
        for count in (contamination.num_items, contamination.num_looked_for, contamination.num_contaminated)
    ]
    return [text(measure_name(task)), *counts, _score(phase, measure), clean]


def _mean(phase: PhaseSummary, name: str) -> list[Html]:
    return [text(measure_name(name)), *[text("")] * 3, _score(phase, name), _score(phase, f"{name}/clean")]


def _score(phase: PhaseSummary, measure: str) -> Html:
    return written(phase.scores.scores[measure])


def _evidence(phase: PhaseSummary) -> Html:
    if not phase.evidence:
        return Html("")
    largest = sorted(phase.evidence, key=lambda row: (-row["share"], row["task"], row["item_id"]))
    rows = [
        [
            Html(f"{text(row['item_id'])}{element('small', text(row['field']))}"),
            Html(f"{text(row['corpus'])}{element('small', element('code', text(row['doc_id'])))}"),
            text(f"{row['share']:.0%}"),
            element("small", text(row["excerpt"])),
        ]
        for row in largest[:EVIDENCE_SHOWN]
    ]
    more = len(largest) - len(rows)
    note = element("p", text(f"{more:,} more are in tables/contamination.parquet.")) if more else Html("")
    return Html(f"{table(['item', 'document', 'of its words', 'there it says'], rows)}{note}")
