"""The data of each phase."""

from pipelines.report.html.markup import Html, element, grid, section, table, text
from pipelines.report.summary.phases import PhaseSummary
from pipelines.report.summary.run import RunSummary


def curriculum_section(summary: RunSummary, drawing: Html) -> Html:
    """The mixture over the tokens of the run, and its budgets."""
    names = [corpus.name for corpus in summary.corpora]
    rows = [
        [text(name), *(_budget(phase, name) for phase in summary.phases), text(f"{_last_epochs(summary, name):.2f}")]
        for name in names
    ]
    header = ["corpus", *(phase.plan.phase for phase in summary.phases), "passes"]
    return section(
        "curriculum",
        "Curriculum",
        "The tokens of each phase, and how often the run passes over each corpus. The plan fixes the order of every "
        "sequence, and the budgets are exact.",
        grid([drawing, element("div", table(header, rows, numbers=len(header) - 1), css="scroll")]),
    )


def _budget(phase: PhaseSummary, corpus: str) -> Html:
    budgets = phase.plan.budgets
    budget = budgets.get(corpus, 0)
    share = element("small", text(f"{budget / phase.plan.num_sequences:.0%}"))
    tokens = element("span", text(f"{budget * phase.plan.sequence_length:,}"))
    return Html(f"{tokens}{share}") if budget else text("0")


def _last_epochs(summary: RunSummary, corpus: str) -> float:
    return max((phase.epochs.get(corpus, 0.0) for phase in summary.phases), default=0.0)
