"""What each phase reads."""

from pipelines.report.html.markup import Html, element, section, table, text
from pipelines.report.summary.run import PhaseSummary, RunSummary


def curriculum_section(summary: RunSummary, drawing: Html) -> Html:
    names = [corpus.name for corpus in summary.corpora]
    rows = [
        [text(name), *(_budget(phase, name) for phase in summary.phases), text(f"{_last_epochs(summary, name):.2f}")]
        for name in names
    ]
    header = ["tokens", *(phase.plan.phase for phase in summary.phases), "passes over the corpus"]
    return section(
        "curriculum",
        "Curriculum",
        "What each phase reads. The order of every sequence is fixed by the plan, and the budgets are exact.",
        drawing,
        table(header, rows, numbers=len(header) - 1),
    )


def _budget(phase: PhaseSummary, corpus: str) -> Html:
    budgets = {share.corpus: share.budget for share in phase.plan.shares}
    budget = budgets.get(corpus, 0)
    share = element("small", text(f"{budget / phase.plan.num_sequences:.0%}"))
    return Html(f"{budget * phase.plan.sequence_length:,}{share}") if budget else text("0")


def _last_epochs(summary: RunSummary, corpus: str) -> float:
    return max((phase.epochs.get(corpus, 0.0) for phase in summary.phases), default=0.0)
