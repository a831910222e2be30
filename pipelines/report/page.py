"""The page, section by section: each is a small function from summary to HTML."""

from collections.abc import Mapping, Sequence
from html import escape

from pipelines.report.figures.training import SMOOTHED_SHARE
from pipelines.report.html.markup import Html, counted, element, figure, page, text
from pipelines.report.sections.answers import answers_section
from pipelines.report.sections.contamination import contamination_section
from pipelines.report.sections.curriculum import curriculum_section
from pipelines.report.sections.data import data_section
from pipelines.report.sections.duplicates import duplicates_section
from pipelines.report.sections.exports import exports_section
from pipelines.report.sections.finetune import finetune_section
from pipelines.report.sections.provenance import graph_section, provenance_section, quarantined_section
from pipelines.report.sections.scores import scores_section
from pipelines.report.sections.training import training_section
from pipelines.report.summary.run import RunSummary

CAPTIONS = {
    "scores": "Headline scores by phase with 95 % intervals.",
    "compute": "Enterprise intelligence against training compute, with 95 % intervals; the cross is the released "
    "Arctic's, by the formula from the parts that its makers published.",
    "mixture": "Planned share of each corpus over the tokens of the run.",
    "loss": f"Training loss: every step, and a running mean over {SMOOTHED_SHARE:.0%} of the phase's steps.",
    "expert_load": "Share of the assignments of each expert times the number of experts, at the end of each phase.",
    "funnel": "Documents and bytes of text, in proportion to what was sourced.",
}


def build(summary: RunSummary, svgs: Mapping[str, str]) -> str:
    """The whole page. `svgs`: the figures by name."""
    drawn = {name: figure(svg, CAPTIONS[name]) for name, svg in svgs.items()}
    sections = {
        "scores": scores_section(summary, [drawn[name] for name in ("scores", "compute") if name in drawn]),
        **({"fine-tuning": finetune_section(summary.finetunes)} if summary.finetunes else {}),
        "curriculum": curriculum_section(summary, drawn["mixture"]),
        "training": training_section(summary, drawn["loss"], drawn.get("expert_load")),
        "data": data_section(summary.corpora, drawn["funnel"]),
        "duplicates": duplicates_section(summary.duplicates),
        "contamination": contamination_section(summary.phases[-1]),
        "answers": answers_section(summary.phases[-1]),
        "exports": exports_section(summary.exports),
        "graph": graph_section(summary.manifests),
        "set aside": quarantined_section(summary.manifests),
        "provenance": provenance_section(summary.manifests),
    }
    return page(
        f"Report: {summary.title}", [_header(summary, list(sections)), element("main", *sections.values(), _footer())]
    )


def _header(summary: RunSummary, sections: Sequence[str]) -> Html:
    tokens = sum(phase.plan.num_tokens for phase in summary.phases)
    documents = sum(corpus.kept.documents for corpus in summary.corpora)
    sentence = (
        f"{documents:,} documents of {counted(len(summary.corpora), 'corpus', 'corpora')}, {tokens:,} training tokens "
        f"in {counted(len(summary.phases), 'phase', 'phases')}, every checkpoint evaluated."
    )
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name.capitalize())}</a>' for name in sections)
    return element(
        "header",
        element("h1", text(summary.title)),
        element("p", text(sentence), css="soft"),
        element("nav", links),
    )


def _footer() -> Html:
    return element("footer", text("This page needs no network and no script. Light or dark follows your system."))


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
