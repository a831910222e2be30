"""Deduplication as a library function: Arrow or Parquet in, decisions out, without stages or a cluster."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arctic_errors import UserError
from pipelines.artifacts.documents import DECISIONS, PASSAGES, decisions_schema, shard_paths
from pipelines.artifacts.formats.parquet import read_table, write_table
from pipelines.dedup.clustering import cluster_shards
from pipelines.dedup.options import DedupOptions, SemanticOptions
from pipelines.dedup.semantic.model import fingerprint_model
from pipelines.dedup.tasks import Counts, NewShard, Task

SHARD_ROWS = 2**17
"""Rows of the input that are signed together."""
SHARD = pa.schema([("doc_id", pa.string()), ("text", pa.large_string()), ("origin", pa.string())])
FILTERED = pa.schema([("doc_id", pa.string()), ("keep", pa.bool_()), ("quality", pa.float64())])


class DedupInputError(UserError, ValueError):
    """The input cannot be deduplicated: no file, no such column or model, or an id that is given twice."""


@dataclass(frozen=True)
class Columns:
    """Columns of the input: the text, an id of the document, and its rank among duplicates (higher is better)."""

    text: str = "text"
    doc_id: str | None = None
    quality: str | None = None


def deduplicate(
    documents: pa.Table | str | Path | Sequence[str | Path],
    options: DedupOptions | None = None,
    *,
    columns: Columns | None = None,
    semantic: SemanticOptions | None = None,
    num_threads: int | None = None,
    scratch: str | Path | None = None,
) -> pa.Table:
    """Find exact and near duplicates, verified on the text. Results do not depend on `num_threads`.

    >>> import pyarrow as pa
    >>> text = " ".join(f"word{number}" for number in range(200))
    >>> table = pa.table({"text": [text, text + " more", "Another text."]})
    >>> deduplicate(table).select(["doc_id", "keep", "kept_id"]).to_pylist()
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'doc_id': '1', 'keep': False, 'kept_id': '2'},
     {'doc_id': '2', 'keep': True, 'kept_id': None},
     {'doc_id': '3', 'keep': True, 'kept_id': None}]

    Args:
        documents: An Arrow table; or a Parquet file, a folder of Parquet files, or a list of files.
        options: The rules; see `DedupOptions`.
        columns: Names of the columns to read; see `Columns`. Without an id, a document is named by its row, counted
            from 1: `12`, or `part-0.parquet#12` in a file.
        semantic: Rules of a comparison by meaning as well; see `SemanticOptions`. Default: none.
        num_threads: Threads; default: the number of CPUs.
        scratch: Folder for temporary files, which take about the size of the texts. Default: the system's.

    Returns:
        One row per document in the order of the input, with the columns of
        `pipelines.artifacts.documents.DECISIONS`: `doc_id`, `keep`, `reason` ("", "exact_duplicate", "near_duplicate",
        "semantic_duplicate" or "no_text"), `kept_id` (the kept document of the cluster), `cluster_size`, `jaccard`,
        `containment`, `shared_bands`; `cosine` with `semantic`; and `passages` (spans to leave out, see
        `CUT_DECISIONS`) if `options` ask for them.

    Raises:
        DedupInputError: If a file, column or model is missing or cannot be read, or two documents have the same id.
    """
    columns = columns or Columns()
    semantic = _fingerprinted(semantic) if semantic else None
    with tempfile.TemporaryDirectory(prefix="dedup-", dir=scratch) as folder:
        home = Path(folder)
        names = [_write_shard(table, number, home) for number, table in enumerate(_tables(documents, columns))]
        if not names:
            return DECISIONS.empty_table()
        doc_ids = pa.chunked_array(names)
        _require_unique(doc_ids, columns)
        shards = [NewShard(*files) for files in zip(*(shard_paths(home, kind) for kind in KINDS), strict=True)]
        with ThreadPoolExecutor(num_threads or os.cpu_count()) as executor:
            local = LocalPasses(home, executor)
            cluster_shards(options or DedupOptions(), shards, [], local, home, semantic=semantic)
        return _named(pa.concat_tables(map(read_table, shard_paths(home, "decisions"))), doc_ids)


KINDS = ("documents", "filtered")


@dataclass(frozen=True)
class LocalPasses:
    """Each pass in a subfolder, its tasks on threads of this process: the kernels release the GIL."""

    home: Path
    executor: ThreadPoolExecutor

    def folder(self, name: str) -> Path:
        return self.home / "passes" / name

    def run(self, name: str, tasks: Sequence[Task], unit: str, out: Path | None = None) -> list[Counts]:  # noqa: ARG002
        folder = out or self.folder(name)

        def run(numbered: tuple[int, Task]) -> Counts:
            number, task = numbered
            own = self.folder(f"{folder.name}-{name}-{number}")
            own.mkdir(parents=True)
            counts = task.run(own)
            _merge(own, folder)
            shutil.rmtree(own)
            return counts

        return list(self.executor.map(run, enumerate(tasks)))

    def discard(self, folder: Path) -> None:
        spent = self.folder(f"spent-{folder.name}")
        spent.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(spent)


def _merge(own: Path, folder: Path) -> None:
    """Move the files of one task to those of its pass; their names carry the task's number."""
    for file in sorted(own.rglob("*")):
        if file.is_file():
            target = folder / file.relative_to(own)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)


def _fingerprinted(semantic: SemanticOptions) -> SemanticOptions:
    """The same rules with the digest of the model."""
    try:
        return replace(semantic, digest=fingerprint_model(semantic.model))
    except ValueError as error:
        raise DedupInputError(f"semantic.model: {error}") from None


def _tables(documents: pa.Table | str | Path | Sequence[str | Path], columns: Columns) -> Iterator[pa.Table]:
    """Portions of the input with `name`, `text`, `quality`, `origin`."""
    if isinstance(documents, pa.Table):
        _present(documents.schema, columns, "")
        for first in range(0, len(documents), SHARD_ROWS):
            yield _portion(documents.slice(first, SHARD_ROWS), first, "", columns)
        return
    for file in _files(documents):
        first = 0
        with _errors_named(str(file)), pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(SHARD_ROWS, columns=_present(parquet.schema_arrow, columns, str(file))):
                yield _portion(pa.Table.from_batches([batch]), first, file.name, columns)
                first += batch.num_rows


@contextmanager
def _errors_named(location: str) -> Iterator[None]:
    """Raise DedupInputError, with the location, for what Arrow cannot read or convert."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DedupInputError(f"{location}: cannot be read ({reason}). Correct it, or leave it out.") from None


def _files(documents: str | Path | Sequence[str | Path]) -> list[Path]:
    if not isinstance(documents, str | Path):
        return [Path(file) for file in documents]
    path = Path(documents)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise DedupInputError(f"documents = {documents}: no Parquet file. Give a file, or a folder with *.parquet.")
    return files


def _present(schema: pa.Schema, columns: Columns, origin: str) -> list[str]:
    names = [name for name in (columns.text, columns.doc_id, columns.quality) if name]
    for name in names:
        if name not in schema.names:
            raise DedupInputError(
                f"{origin or 'documents'}: no column {name!r}. There are {', '.join(schema.names)}. "
                "Name the columns with columns=Columns(text=..., doc_id=..., quality=...)."
            )
    return names


def _portion(table: pa.Table, first: int, origin: str, columns: Columns) -> pa.Table:
    rows = range(first + 1, first + 1 + len(table))
    prefix = f"{origin}#" if origin else ""
    location = origin or "documents"
    names = pa.array([f"{prefix}{row}" for row in rows])
    if columns.doc_id:
        names = _converted(table, columns.doc_id, pa.string(), location)
    if names.null_count:
        raise DedupInputError(f"{location}: a document has no {columns.doc_id}. Give each an id.")
    quality = pa.array([0.0] * len(table))
    if columns.quality:
        quality = _converted(table, columns.quality, pa.float64(), location)
    text = _converted(table, columns.text, pa.large_string(), location)
    return pa.table({"name": names, "text": text, "quality": quality, "origin": [origin] * len(table)})


def _converted(table: pa.Table, column: str, kind: pa.DataType, location: str) -> pa.ChunkedArray:
    with _errors_named(f"{location}: column {column!r} ({table.schema.field(column).type})"):
        return table[column].cast(kind)


def _write_shard(table: pa.Table, number: int, home: Path) -> pa.Array:
    """Write a portion as a shard of documents and its sidecar; returns the names of its documents."""
    doc_ids = [_hexadecimal(name) for name in table["name"].to_pylist()]
    keep = pc.is_valid(table["text"])
    text = pc.fill_null(table["text"], "")
    quality = pc.fill_null(table["quality"], 0.0)
    for kind in KINDS:
        (home / kind).mkdir(exist_ok=True)
    documents = pa.table({"doc_id": doc_ids, "text": text, "origin": table["origin"]}).cast(SHARD)
    write_table(documents, home / "documents" / f"{number:05d}.parquet")
    filtered = pa.table({"doc_id": doc_ids, "keep": keep, "quality": quality}).cast(FILTERED)
    write_table(filtered, home / "filtered" / f"{number:05d}.parquet")
    return table["name"].combine_chunks()


def _hexadecimal(name: str) -> str:
    """32 hex digits of a name: the form that ids have while documents are ranked."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _require_unique(doc_ids: pa.ChunkedArray, columns: Columns) -> None:
    counts = pc.value_counts(doc_ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        name = twice.field("values")[0].as_py()
        source = f"column {columns.doc_id!r}" if columns.doc_id else "two files of the same name"
        raise DedupInputError(f"doc_id = {name!r}: given twice ({source}). Give each document an id of its own.")


def _named(decisions: pa.Table, doc_ids: pa.ChunkedArray) -> pa.Table:
    """DECISIONS with the names of the input instead of hex digits."""
    kept_ids = pc.take(doc_ids, pc.index_in(decisions["kept_id"], decisions["doc_id"].combine_chunks()))
    reason = pc.if_else(pc.equal(decisions["reason"], "filter"), "no_text", decisions["reason"])
    columns = dict(zip(decisions.column_names, decisions.columns, strict=True))
    schema = decisions_schema(*columns)
    named = pa.table({**columns, "doc_id": doc_ids, "kept_id": kept_ids, "reason": reason})
    if PASSAGES.name not in columns:
        return named.cast(schema)
    names = dict(zip(decisions["doc_id"].to_pylist(), doc_ids.to_pylist(), strict=True))
    spans = [
        [{**span, "kept_id": names[span["kept_id"]]} for span in spans] for spans in decisions["passages"].to_pylist()
    ]
    passages = pa.array(spans, PASSAGES.type)
    return named.set_column(named.column_names.index(PASSAGES.name), PASSAGES, passages).cast(schema)
