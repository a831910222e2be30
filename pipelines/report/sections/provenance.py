"""The source of results: the graph of stages, records set aside, software."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.artifact import Manifest
from pipelines.report.figures import dag
from pipelines.report.html.markup import Html, counted, element, section, table, text

QUARANTINED_SHOWN = 100
SHOWN_ELSEWHERE = {"code", "warnings", "measured", "attempt", "shards_reused"}
"""Of a stage's provenance; the digests of its code are of no use to a reader."""


def graph_section(manifests: Sequence[Manifest]) -> Html:
    seconds = sum(manifest.seconds for manifest in manifests)
    lead = (
        f"{len(manifests)} stages, each named by the digest of its inputs and parameters; {seconds:,.0f} seconds of "
        "work in all. Edges that another path implies are left out."
    )
    opening = '<div class="scroll" tabindex="0" role="region" aria-label="graph of the stages">'
    return section("graph", "Graph", lead, element("figure", f"{opening}{dag.draw(manifests)}</div>"))


def quarantined_section(manifests: Sequence[Manifest]) -> Html:
    records = [(manifest.id, record) for manifest in manifests for record in manifest.quarantined]
    lead = f"{counted(len(records), 'record', 'records')} could not be read and went no further."
    if not records:
        return section("set-aside", "Set aside", lead)
    rows = [
        [text(stage), text(record["origin"]), text(record["reason"])] for stage, record in records[:QUARANTINED_SHOWN]
    ]
    more = len(records) - len(rows)
    note = element("p", text(f"{more:,} more are in the manifests.")) if more else Html("")
    return section("set-aside", "Set aside", lead, table(["stage", "origin", "reason"], rows), note)


def provenance_section(manifests: Sequence[Manifest]) -> Html:
    values: dict[str, dict[str, None]] = {}
    for manifest in manifests:
        recorded = {name: value for name, value in manifest.provenance.items() if name not in SHOWN_ELSEWHERE}
        for name, value in _flat(recorded):
            values.setdefault(name, {})[str(value)] = None
    rows = [[text(name), element("code", text(", ".join(names)))] for name, names in sorted(values.items())]
    lead = "The software behind these results. Several values: the stages were built at different times."
    machines = {str(manifest.provenance.get("arithmetic")) for manifest in manifests}
    if len(machines) > 1:
        lead += (
            f" They were also built on {len(machines)} kinds of machines (rows arithmetic.*): weights, scores and "
            "other results in floating point have the same bytes on one kind only."
        )
    return section("provenance", "Provenance", lead, table(["what", "which"], rows))


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
