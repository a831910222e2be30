"""The part of the page on exports: format and folder of each, and how its engine agrees with the model."""

from collections.abc import Sequence
from html import escape

from pipelines.report.html.markup import Html, element, section, table, text
from pipelines.report.summary.exports import ExportSummary


def exports_section(exports: Sequence[ExportSummary]) -> Html:
    """One row for each export."""
    if not exports:
        return section("exports", "Exports", "This run exports no checkpoint.")
    header = ["export", "checkpoint", "format", "loaded back by", "largest difference", "equal tokens", "mean KL"]
    return section(
        "exports",
        "Exports",
        "Checkpoints in the formats of other engines. Each was loaded back by its engine and compared with the model: "
        "the largest difference of two logits, relative to the largest logit if that is above 1; the share of "
        "positions with the same likeliest token; and the mean KL divergence in nats per token.",
        table(header, [_row(export) for export in exports], numbers=3),
    )


def _row(export: ExportSummary) -> list[Html]:
    link = f'<a href="{escape(export.folder)}">{escape(export.name)}</a>'
    agreement = export.agreement
    return [
        Html(link),
        element("code", text(export.checkpoint)),
        text(f"{export.to}, {export.dtype}"),
        text(agreement["engine"]),
        text(f"{agreement['max_difference']:.1g}"),
        text(f"{agreement['argmax_share']:.2%} of {agreement['tokens']:,}"),
        text(f"{max(agreement['mean_kl'], 0.0):.1g}"),
    ]
