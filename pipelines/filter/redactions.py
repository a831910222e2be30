"""Which characters of a document are to be blacked out: findings of the chosen kinds, none touching another."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipelines.artifacts.documents import FILTERED


def choose_redactions(findings: Iterable[Mapping[str, Any]], kinds: Collection[str]) -> list[dict[str, Any]]:
    """Spans of one document in the order of the text; nothing that was found stays.

    Those that overlap become one, of the kind of the first that starts, of the longest among several, of the first by
    name among equals.
    """
    chosen: list[dict[str, Any]] = []
    order = sorted(findings, key=lambda found: (found["start"], -found["end"], found["kind"]))
    for found in order:
        if found["kind"] not in kinds:
            continue
        if chosen and found["start"] < chosen[-1]["end"]:
            chosen[-1]["end"] = max(chosen[-1]["end"], found["end"])
        else:
            chosen.append({name: found[name] for name in ("start", "end", "kind")})
    return chosen


def redaction_column(doc_ids: pa.ChunkedArray, pii: pa.Table, kinds: Collection[str]) -> pa.Array:
    """The column `redactions` of FILTERED for documents in order; `pii`: their findings, rows of PII."""
    by_document: dict[str, list[dict[str, Any]]] = {}
    for found in pii.to_pylist():
        by_document.setdefault(found["doc_id"], []).append(found)
    chosen = [choose_redactions(by_document.get(doc_id, ()), kinds) for doc_id in doc_ids.to_pylist()]
    return pa.array(chosen, FILTERED.field("redactions").type)
