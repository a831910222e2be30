"""The part of the page on exports: what each is, where it lies, and how its engine agrees with the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from infra.artifact import Artifact
from pipelines.artifacts.exported import MODEL, read_agreement
from pipelines.report.markup import Html, element, section, table, text


@dataclass(frozen=True)
class ExportSummary:
    """One export. `folder`: of its model, as seen from the page; `agreement`: fields of the comparison."""

    name: str
    checkpoint: str
    to: str
    dtype: str
    folder: str
    agreement: Mapping[str, Any]


def read_exports(exports: Mapping[str, Artifact], ids: Mapping[str, str]) -> list[ExportSummary]:
    """The exports of a run from their artifacts by name; `ids` of its stages by key."""
    return [
        ExportSummary(
            name=name,
            checkpoint=ids[artifact.manifest.inputs["train"]],
            to=artifact.manifest.params["to"],
            dtype=artifact.manifest.params["dtype"],
            # From the page's own folder, stages/report/KEY, to its neighbour.
            folder=f"../../{artifact.path.parent.name}/{artifact.path.name}/{MODEL}",
            agreement=read_agreement(artifact.path),
        )
        for name, artifact in exports.items()
    ]


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
