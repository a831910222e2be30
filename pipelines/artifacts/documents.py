"""Documents, their scores and the decisions about them.

    source   documents/NNNNN.parquet   DOCUMENTS: text with provenance; never rewritten
    filter   filtered/NNNNN.parquet    FILTERED: the decision of the limits on the scores, and the spans to redact
    dedup    decisions/NNNNN.parquet   DECISIONS

Rows of the three have the same order, shard by shard, so a decision is a sidecar column.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.artifacts.formats.parquet import ParquetFile, parquet_writer, read_schema, read_table, write_table
from pipelines.errors import require_encodable

DOCUMENTS = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
        pa.field("date", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("opt_out", pa.string()),
        pa.field("extractor", pa.string(), nullable=False),
        pa.field("attributes", pa.string()),
    ]
)
"""`origin`: WARC file name, distribution or generator; `offset`, `length`: bytes of the WARC record as stored; `date`:
WARC-Date; `licence`: SPDX id or the metadata's own words; `opt_out`: JSON of the headers that carry opt-outs; `split`:
TRAIN or HELDOUT; `extractor`: name of the extractor of the text; `attributes`: JSON object of fields that only one kind
of input has, such as the repository and language of code."""

CUT = "cut"
"""Kind of a span that is left out instead of being replaced by a name."""
REDACTION = pa.struct({"start": pa.int32(), "end": pa.int32(), "kind": pa.string()})

FILTERED = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("quality", pa.float64(), nullable=False),
        pa.field("redactions", pa.list_(REDACTION), nullable=False),
    ]
)
"""`reason`: "" or the first rule that drops; `quality`: rank among duplicates, 0 without a classifier; `redactions`:
characters `start` to `end` (not included) to be replaced by `kind`, in order, none touching another."""

DECISIONS = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("kept_id", pa.string()),
        pa.field("cluster_size", pa.int32(), nullable=False),
        pa.field("jaccard", pa.float64()),
        pa.field("containment", pa.float64()),
        pa.field("shared_bands", pa.int32()),
    ]
)
"""`keep`: passed filter and dedup; `reason`: "" or "filter", "exact_duplicate", "near_duplicate", "first_prompt",
"semantic_duplicate"; `kept_id`: the representative, which is the kept document of the cluster; `cluster_size`: members
of the cluster, 1 for a document alone; `jaccard`: verified on text against `kept_id`, as is `containment`, the share of
this document's n-grams that `kept_id` has; `shared_bands`: MinHash bands that the two have in common. With the reason
"first_prompt", the three are those of the first prompts. They are null with the reason "semantic_duplicate", and if the
document that this one was compared with was itself removed later."""

COSINE = pa.field("cosine", pa.float64())
"""Further column of DECISIONS of a corpus that is deduplicated by meaning: with the reason "semantic_duplicate", the
similarity of the embedding to that of `kept_id`."""

PASSAGE = pa.struct(
    {
        "start": pa.int32(),
        "end": pa.int32(),
        "kind": pa.string(),
        "kept_id": pa.string(),
        "documents": pa.int32(),
    }
)
PASSAGES = pa.field("passages", pa.list_(PASSAGE), nullable=False)
CUT_DECISIONS = pa.schema([*DECISIONS, PASSAGES])
"""DECISIONS of a corpus whose repeated passages are left out: characters `start` to `end` (not included), in order,
none touching another; `kind`: "line" or "passage"; `kept_id`: the document that keeps the text; `documents`: how many
have it."""
SECOND_CHOICE = "second choice: "
"""Prefix of `extractor` if the first text of a page held little of its prose and another one was chosen."""
TRAIN, HELDOUT = "train", "heldout"
READ_BATCH_ROWS, KEPT_BATCH_ROWS = 1024, 256
ROW_GROUP_DOCUMENTS = 8192
ROW_GROUP_BYTES = 64 * 2**20
"""Documents, or bytes of text, after which a row group ends."""


@dataclass(frozen=True)
class Document:
    """One text with its provenance; fields as in DOCUMENTS.

    >>> document = Document("The river rose.", url="https://a.example/", origin="notes")
    >>> document.split, len(document.doc_id)
    ('train', 32)
    """

    text: str
    url: str
    origin: str
    split: str = TRAIN
    offset: int | None = None
    length: int | None = None
    date: str | None = None
    licence: str | None = None
    opt_out: str | None = None
    extractor: str = "none"
    attributes: str | None = None

    @property
    def doc_id(self) -> str:
        """32 hex digits from the text and its provenance: the same on every machine, in every order.

        Raises OptionError if one of them has lone surrogates, which no encoding has.
        """
        try:
            content = hashlib.sha256(self.text.encode()).hexdigest()
            return hashlib.sha256(f"{content}\n{self.origin}\n{self.offset}\n{self.url}".encode()).hexdigest()[:32]
        except UnicodeEncodeError:
            for name in ("text", "origin", "url"):
                require_encodable(getattr(self, name), f"a document's {name}")
            raise


def draw_split(group: str, heldout_fraction: float) -> str:
    """TRAIN or HELDOUT, drawn by the digest of `group`, so that all documents of a group are in the same split."""
    return HELDOUT if draw_uniform(f"split\n{group}") < heldout_fraction else TRAIN


def draw_uniform(text: str) -> float:
    """A number in [0, 1) from the digest of `text`: the same on every machine.

    >>> draw_uniform("river") == draw_uniform("river") < 1
    True
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


class DocumentWriter:
    """One shard of documents under the output folder of `source`, written as it grows: memory holds one row group.

    Row groups end by the documents alone, so the bytes are the same however the documents arrive.
    """

    def __init__(self, folder: Path, shard: int) -> None:
        path = folder / "documents" / f"{shard:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = parquet_writer(path, DOCUMENTS)
        self._rows: list[dict[str, object]] = []
        self._held_bytes = 0

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def write(self, document: Document) -> int:
        """Add a document; returns the UTF-8 bytes of its text.

        Raises OptionError, and adds nothing, if a field has lone surrogates, which no encoding has.
        """
        require_encodable(document.text, "a document's text")
        size = len(document.text.encode())
        row = {"doc_id": document.doc_id, **asdict(document)}
        for name, value in row.items():
            if name != "text" and isinstance(value, str):
                require_encodable(value, f"a document's {name}")
        self._rows.append(row)
        self._held_bytes += size
        if len(self._rows) >= ROW_GROUP_DOCUMENTS or self._held_bytes >= ROW_GROUP_BYTES:
            self._flush()
        return size

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=DOCUMENTS))
        self._rows, self._held_bytes = [], 0


def write_documents(documents: Iterable[Document], folder: Path, shard: int) -> None:
    """Write one shard of documents under the output folder of `source`."""
    with DocumentWriter(folder, shard) as writer:
        for document in documents:
            writer.write(document)


def write_shard(table: pa.Table, folder: Path, shard: int) -> None:
    """Write `table` as shard number `shard` of `folder`; the same table gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(table, folder / f"{shard:05d}.parquet")


def decisions_schema(*further: str) -> pa.Schema:
    """DECISIONS with those of the columns COSINE and PASSAGES that `further` names."""
    return pa.schema([*DECISIONS, *(field for field in (COSINE, PASSAGES) if field.name in further)])


def shard_paths(artifact: Path, kind: str) -> list[Path]:
    """Shards of one kind ("documents", "filtered", "decisions") in an artifact's folder, in order."""
    return sorted((artifact / kind).glob("*.parquet"))


def iter_kept(documents: Path, filtered: Path, decisions: Path, *splits: str) -> Iterator[pa.RecordBatch]:
    """Kept documents of `splits`, in order, from a shard of documents and its two sidecars; text is redacted."""
    for batch, redactions in iter_kept_with_redactions(documents, filtered, decisions, *splits):
        yield _redacted(batch, redactions)


def iter_kept_with_redactions(
    documents: Path, filtered: Path, decisions: Path, *splits: str, columns: Iterable[str] = ()
) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
    """As `iter_kept`, with the original text, the redactions in it, and more `columns`."""
    keep = read_table(decisions, columns=["doc_id", "keep"])
    redactions = _with_passages(read_table(filtered, columns=["doc_id", "redactions"]), decisions)
    row = 0
    for batch in ParquetFile(documents).iter_batches(KEPT_BATCH_ROWS, columns=["doc_id", "text", "split", *columns]):
        sidecars = [sidecar.slice(row, batch.num_rows).combine_chunks() for sidecar in (keep, redactions)]
        for sidecar, path in zip(sidecars, (decisions, filtered), strict=True):
            if not sidecar["doc_id"].combine_chunks().equals(batch["doc_id"]):
                raise ValueError(f"{path}: rows are not those of {documents} from row {row} on; build it again")
        row += batch.num_rows
        is_in = pa.compute.is_in(batch["split"], pa.array(splits))
        mask = pa.compute.and_(sidecars[0]["keep"], is_in).combine_chunks()
        yield batch.filter(mask), sidecars[1]["redactions"].filter(mask)


def redact(text: str, redactions: Iterable[Mapping[str, Any]]) -> str:
    """`text` with each span of REDACTION replaced by the name of its kind, as <EMAIL>, or by nothing if that is CUT."""
    parts, done = [], 0
    for span in redactions:
        parts += [text[done : span["start"]], f"<{span['kind'].upper()}>" if span["kind"] != CUT else ""]
        done = span["end"]
    return "".join([*parts, text[done:]])


def _with_passages(redactions: pa.Table, decisions: Path) -> pa.Table:
    """Redactions of a shard, with the passages that its decisions leave out, if any."""
    if "passages" not in read_schema(decisions).names:
        return redactions
    passages = read_table(decisions, columns=["passages"])["passages"].to_pylist()
    spans = map(join_spans, redactions["redactions"].to_pylist(), passages)
    column = pa.array(list(spans), FILTERED.field("redactions").type)
    return redactions.set_column(1, FILTERED.field("redactions"), column)


def join_spans(
    redactions: Sequence[Mapping[str, Any]], passages: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Spans of REDACTION in order: of a redaction that a passage touches, only the characters outside it remain.

    >>> join_spans([{"start": 2, "end": 6, "kind": "email"}], [{"start": 4, "end": 9}])
    [{'start': 2, 'end': 4, 'kind': 'email'}, {'start': 4, 'end': 9, 'kind': 'cut'}]
    """
    spans = [{"start": each["start"], "end": each["end"], "kind": CUT} for each in passages]
    for span in redactions:
        start = span["start"]
        for passage in passages:
            if passage["end"] <= start or passage["start"] >= span["end"]:
                continue
            if passage["start"] > start:
                spans.append({**span, "start": start, "end": passage["start"]})
            start = passage["end"]
        if start < span["end"]:
            spans.append({**span, "start": start})
    return sorted(spans, key=lambda span: span["start"])


def _redacted(batch: pa.RecordBatch, redactions: pa.Array) -> pa.RecordBatch:
    if not pa.compute.any(pa.compute.greater(pa.compute.list_value_length(redactions), 0)).as_py():
        return batch
    texts = map(redact, batch["text"].to_pylist(), redactions.to_pylist())
    column = batch.schema.get_field_index("text")
    return batch.set_column(column, batch.schema.field(column), pa.array(texts, batch.schema.field(column).type))
