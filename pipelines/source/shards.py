"""What one shard of `source` does: read its part of the inputs, write documents, count what it passed over."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from infra.fanout import ShardResult
from infra.store import file_digest
from pipelines.artifacts.documents import HELDOUT, Document, write_documents
from pipelines.source.extract import Extractor
from pipelines.source.inputs import Descriptions, Part, PydocPages, SourceFiles, SqlSchemas, WarcFile
from pipelines.source.pages import NotAPage, page_document
from pipelines.source.pydoc_pages import write_pages
from pipelines.source.python_packages import describe, read_source
from pipelines.source.text_to_sql import sql_documents
from pipelines.source.warc import Damage, read_responses


@dataclass(frozen=True)
class Shard:
    """One part of the inputs with its number and how to make documents of it."""

    number: int
    part: Part
    extractor: Extractor
    heldout_fraction: float


@dataclass
class Reading:
    """What came of a shard so far. `counts` has the metrics' names without their group."""

    documents: list[Document] = field(default_factory=list)
    quarantined: list[dict[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def read_shard(shard: Shard, folder: Path) -> ShardResult:
    """Write the documents of `shard` under `folder`, and the WARC file that pydoc's pages were read from."""
    reading = Reading()
    match shard.part:
        case WarcFile(path, sha256):
            if file_digest(path) != sha256:
                raise RuntimeError(f"{path}: changed since the run was planned. Start the run again.")
            _read_pages(shard, path, reading)
        case PydocPages(file_name, modules):
            path = folder / "warc" / file_name
            path.parent.mkdir()
            reading.counts["skipped_not_importable"] = write_pages(modules, path)
            _read_pages(shard, path, reading)
        case Descriptions(names):
            reading.documents = [describe(name, shard.heldout_fraction) for name in names]
        case SourceFiles():
            _read_sources(shard.part, shard.heldout_fraction, reading)
        case SqlSchemas(section, heldout, first, last):
            reading.documents = sql_documents(section, heldout, first, last)
    write_documents(reading.documents, folder, shard.number)
    reading.counts["documents"] = len(reading.documents)
    reading.counts["heldout_documents"] = sum(document.split == HELDOUT for document in reading.documents)
    reading.counts["bytes"] = sum(len(document.text.encode()) for document in reading.documents)
    return ShardResult(dict(sorted(reading.counts.items())), list(reading.quarantined))


def _read_pages(shard: Shard, path: Path, reading: Reading) -> None:
    for response in read_responses(path):
        if isinstance(response, Damage):
            reading.quarantined.append({"origin": f"{path.name}:{response.offset}", "reason": response.reason})
            continue
        try:
            page = page_document(response, path.name, shard.extractor, shard.heldout_fraction)
        except ValueError as error:
            reading.quarantined.append({"origin": f"{path.name}:{response.offset}", "reason": str(error)})
            continue
        if isinstance(page, NotAPage):
            reading.counts[f"skipped_{page.reason}"] += 1
        else:
            reading.documents.append(page)


def _read_sources(part: SourceFiles, heldout_fraction: float, reading: Reading) -> None:
    for file in part.files:
        if file.path.stat().st_size > part.max_file_bytes:
            reading.counts["skipped_too_large"] += 1
            continue
        try:
            document = read_source(file, heldout_fraction)
        except (SyntaxError, UnicodeDecodeError) as error:
            reading.quarantined.append({"origin": file.url, "reason": f"undecodable text: {error}"})
            continue
        if document.text.strip():
            reading.documents.append(document)
        else:
            reading.counts["skipped_no_text"] += 1
