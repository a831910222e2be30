"""Which characters of a document are to be blacked out: findings of the chosen kinds, none touching another."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipelines.artifacts.documents import FILTERED


def choose_redactions(findings: Iterable[Mapping[str, Any]], kinds: Collection[str]) -> list[dict[str, Any]]:
    """Merged spans of one document in the order of the text; no finding remains.

    Overlapping spans become one, of the kind of the first that starts, of the longest among several, of the first by
    name among equals.
    """
    spans: list[dict[str, Any]] = []
    order = sorted(findings, key=lambda finding: (finding["start"], -finding["end"], finding["kind"]))
    for finding in order:
        if finding["kind"] not in kinds:
            continue
        if spans and finding["start"] < spans[-1]["end"]:
            spans[-1]["end"] = max(spans[-1]["end"], finding["end"])
        else:
            spans.append({name: finding[name] for name in ("start", "end", "kind")})
    return spans


def redaction_column(doc_ids: pa.ChunkedArray, pii: pa.Table, kinds: Collection[str]) -> pa.Array:
    """The column `redactions` of FILTERED for documents in order; `pii`: their findings, rows of PII."""
    by_document: dict[str, list[dict[str, Any]]] = {}
    for finding in pii.to_pylist():
        by_document.setdefault(finding["doc_id"], []).append(finding)
    spans = [choose_redactions(by_document.get(doc_id, ()), kinds) for doc_id in doc_ids.to_pylist()]
    return pa.array(spans, FILTERED.field("redactions").type)
