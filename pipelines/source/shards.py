"""The work of one shard of `source`: read its split of the inputs, write documents, count passed-over records."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipelines.artifacts.documents import DocumentWriter
from pipelines.source.document_sink import DocumentSink, Extractor, TextFormat
from pipelines.source.protocol import SplitReader


@dataclass(frozen=True)
class Shard:
    """One split of the inputs with its number and how to make documents of it."""

    number: int
    reader: SplitReader
    extractor: Extractor
    heldout_fraction: float
    text_format: TextFormat = "text"
    read_pdf: bool = False


class ShardRead(NamedTuple):
    """Counts of a shard's documents and of records that were passed over, and the records that were set aside."""

    metrics: Mapping[str, int]
    quarantined: list[Mapping[str, str]]


def read_shard(shard: Shard, folder: Path) -> ShardRead:
    """Write the documents of `shard` under `folder`, and the other files that its reader makes."""
    with DocumentWriter(folder, shard.number) as writer:
        sink = DocumentSink(folder, shard.extractor, shard.heldout_fraction, writer, shard.text_format, shard.read_pdf)
        shard.reader.read(sink)
    return ShardRead(dict(sorted(sink.counts.items())), sink.quarantined)
