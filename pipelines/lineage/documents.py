"""The source of a document, its scores, and the decisions about it.

Ids are digests, so no statistics of a Parquet file narrow the search: only the id column is read as a whole, one row
group at a time, and all other columns by the index of the row, which is the same in every sidecar.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.artifact import Artifact
from pipelines.artifacts.documents import DOCUMENTS, shard_paths
from pipelines.artifacts.duplicates import read_document
from pipelines.artifacts.formats.parquet import ParquetFile, read_table

TEXT_SHOWN = 600
"""Characters of a document's text."""
HITS_SHOWN = 20
"""Passages of evaluation sets."""
PROVENANCE = [name for name in DOCUMENTS.names if name != "text"]

Fields = dict[str, Any]


@dataclass(frozen=True)
class DocumentLocation:
    """Location of a document: a result of `source`, a shard, a row."""

    source: Artifact
    shard: str
    row: int


def find_document(artifacts: Sequence[Artifact], doc_id: str) -> list[DocumentLocation]:
    """All locations of a document among the results of `source`: one, unless a corpus was built in several ways."""
    return [
        DocumentLocation(source, shard.name, row)
        for source in artifacts
        if source.manifest.name == "source"
        for shard in shard_paths(source.path, "documents")
        if (row := _row(shard, doc_id)) is not None
    ]


def describe(location: DocumentLocation, doc_id: str, artifacts: Sequence[Artifact]) -> Fields:
    """All metadata of a document in the results of the store, by field; if one stage was built in several ways, its
    fields carry the key."""
    provenance = _read(location.source, "documents", location, PROVENANCE)
    fields: Fields = {"corpus": location.source.manifest.subject, "source": location.source.manifest.key}
    fields |= {name: value for name, value in provenance.items() if value is not None}
    fields |= _how_to_fetch(provenance)
    scores: dict[str, Fields] = {}
    built = list(_built_on(location.source, artifacts))
    for artifact in built:
        several = [other.manifest.name for other in built].count(artifact.manifest.name) > 1
        name = f"{artifact.manifest.name} {artifact.manifest.key}" if several else artifact.manifest.name
        match artifact.manifest.name:
            case "score":
                stage_fields = scores[artifact.manifest.key] = _read(artifact, "scores", location)
                stage_fields |= _findings(artifact, location, doc_id)
            case "annotate":
                stage_fields = _annotation(artifact, location)
            case "filter":
                stage_fields = _filtering(artifact, location, scores.get(artifact.manifest.inputs["score"], {}))
            case _:
                stage_fields = _deduplication(artifact, location, artifacts)
        fields |= {f"{name}.{field}": value for field, value in stage_fields.items() if field != "doc_id"}
    return {**fields, "text": _excerpt(_read(location.source, "documents", location, ["text"])["text"])}


def _row(shard: Path, doc_id: str) -> int | None:
    """The row of a document in a shard, or None; memory holds the ids of one row group."""
    file, before = ParquetFile(shard), 0
    for number in range(file.num_row_groups):
        ids = file.read_row_group(number, columns=["doc_id"])["doc_id"]
        row = pc.index(ids, pa.scalar(doc_id, ids.type)).as_py()
        if row >= 0:
            return before + int(row)
        before += len(ids)
    return None


def _read(artifact: Artifact, kind: str, location: DocumentLocation, columns: Sequence[str] | None = None) -> Fields:
    shard = artifact.path / kind / location.shard
    return read_document(shard, location.row, columns or pq.read_schema(shard).names)


def _built_on(source: Artifact, artifacts: Sequence[Artifact]) -> Iterator[Artifact]:
    """Results of score, annotate, filter and dedup that read this source, in this order."""
    for name in ("score", "annotate", "filter", "dedup"):
        for artifact in artifacts:
            if artifact.manifest.name == name and artifact.manifest.inputs.get("source") == source.manifest.key:
                yield artifact


def _how_to_fetch(provenance: Mapping[str, Any]) -> Fields:
    """The command that gives the WARC record that a document was taken from."""
    offset, length, origin = (provenance[name] for name in ("offset", "length", "origin"))
    if offset is None or length is None:
        return {}
    if "://" in origin:
        return {"fetch": f"curl -s -r {offset}-{offset + length - 1} {origin}"}
    return {"fetch": f"tail -c +{offset + 1} {origin} | head -c {length}"}


def _findings(artifact: Artifact, location: DocumentLocation, doc_id: str) -> Fields:
    """Personal data by kind, and each passage of an evaluation set."""
    fields: Fields = {}
    kinds = Counter(row["kind"] for row in _rows(artifact, "pii", location, doc_id))
    if kinds:
        fields["pii"] = _counted(kinds)
    hits = _rows(artifact, "contamination", location, doc_id)
    for number, hit in enumerate(hits[:HITS_SHOWN], start=1):
        item = f"{hit['benchmark']} item {hit['item']}"
        fields[f"contamination.{number}"] = f"{item}, share {hit['share']:.2f}: {_excerpt(hit['excerpt'], 200)}"
    if len(hits) > HITS_SHOWN:
        fields["contamination.more"] = len(hits) - HITS_SHOWN
    return fields


def _rows(artifact: Artifact, kind: str, location: DocumentLocation, doc_id: str) -> list[Fields]:
    """Rows of a table with any number of rows a document."""
    table = read_table(artifact.path / kind / location.shard)
    rows: list[Fields] = table.filter(pc.field("doc_id") == doc_id).to_pylist()
    return rows


def _annotation(artifact: Artifact, location: DocumentLocation) -> Fields:
    """The labels of a model, each under the annotation's name, or why there is none."""
    row = _read(artifact, "annotations", location)
    name = artifact.manifest.subject.removeprefix(f"{location.source.manifest.subject}.")
    values = row["labels"] or {"problem": row["problem"] or "not asked"}
    return {f"{name}.{field}": value for field, value in values.items()}


def _filtering(artifact: Artifact, location: DocumentLocation, measured: Mapping[str, Any]) -> Fields:
    """The decision, and every limit that the document is beyond: the first of them is the reason."""
    row = _read(artifact, "filtered", location)
    redactions = Counter(span["kind"] for span in row.pop("redactions"))
    return {
        **row,
        **{f"beyond.{limit}": text for limit, text in _broken(artifact.manifest.params, measured)},
        "redactions": _counted(redactions) or "none",
    }


def _broken(params: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Limits of [filter] that `measured` does not keep; min_x and max_x limit the score x."""
    for name, limit in params.items():
        side, _, score = name.partition("_")
        value = measured.get(score)
        if value is None or limit is None or side not in ("min", "max"):
            continue
        if value < limit if side == "min" else value > limit:
            yield name, f"{score} {value:.6g}, limit {limit:.6g}"
    languages = params.get("languages")
    if languages and measured.get("language") not in (None, *languages):
        yield "languages", f"language {measured['language']}, kept are {', '.join(languages)}"


def _deduplication(artifact: Artifact, location: DocumentLocation, artifacts: Sequence[Artifact]) -> Fields:
    """The decision with its evidence, and the representative of this document."""
    row = _read(artifact, "decisions", location)
    fields = {name: value for name, value in row.items() if value is not None}
    if row["kept_id"] and (locations := find_document(artifacts, row["kept_id"])):
        fields["kept_url"] = _read(locations[0].source, "documents", locations[0], ["url"])["url"]
    return fields


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _excerpt(text: str, characters: int = TEXT_SHOWN) -> str:
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text):,} characters)"
