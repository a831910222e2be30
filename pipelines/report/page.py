"""The page: its sections in their order, between the facts of the run on top and the footer."""

from collections.abc import Mapping

from pipelines.report.figures.draw import CAPTIONS
from pipelines.report.html.markup import Html, element, figure, page, text
from pipelines.report.sections.contamination import contamination_section
from pipelines.report.sections.curriculum import curriculum_section
from pipelines.report.sections.data import data_section
from pipelines.report.sections.duplicates import duplicates_section
from pipelines.report.sections.header import header
from pipelines.report.sections.models.answers import answers_section
from pipelines.report.sections.models.exports import exports_section
from pipelines.report.sections.models.finetune import finetune_section
from pipelines.report.sections.models.scores import scores_section
from pipelines.report.sections.models.training import training_section
from pipelines.report.sections.provenance import graph_section, provenance_section, quarantined_section
from pipelines.report.summary.run import RunSummary

OF_SCORES = ("bits_per_byte", "right_answers", "retrieval", "bits_by_position", "compute", "compute_beside_arctic")
OF_TRAINING = (
    *("loss", "loss_by_corpus", "gradient_norm", "learning_rate", "throughput"),
    *("busiest_expert", "expert_load"),
)
"""Figures of each section, in their order, as far as the run has them."""


def build(summary: RunSummary, svgs: Mapping[str, str], more: Mapping[str, Html] | None = None) -> str:
    """The whole page. `svgs`: the figures by name; `more`: sections that go before the others, by name."""
    drawn = {name: figure(svg, CAPTIONS[name]) for name, svg in svgs.items() if name in CAPTIONS}
    scored, trained = ([drawn[name] for name in names if name in drawn] for names in (OF_SCORES, OF_TRAINING))
    sections = {
        **(more or {}),
        "scores": scores_section(summary, scored),
        **({"fine-tuning": finetune_section(summary.finetunes)} if summary.finetunes else {}),
        "training": training_section(summary, trained),
        "curriculum": curriculum_section(summary, drawn["mixture"]),
        "data": data_section(summary.corpora),
        "duplicates": duplicates_section(summary.duplicates),
        "contamination": contamination_section(summary.phases[-1]),
        "answers": answers_section(summary.phases[-1]),
        "exports": exports_section(summary.exports),
        "graph": graph_section(summary.manifests),
        "set aside": quarantined_section(summary.manifests),
        "provenance": provenance_section(summary.manifests),
    }
    main = f'<main id="main">{"".join(sections.values())}{_footer()}</main>'
    return page(f"Report: {summary.title}", [header(summary, list(sections)), Html(main)])


def _footer() -> Html:
    return element("footer", text("This page needs no network and no script. Light or dark follows your system."))
