"""What one shard of `source` does: read its split of the inputs, write documents, count what it passed over."""

from dataclasses import dataclass
from pathlib import Path

from infra.fanout import ShardResult
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


def read_shard(shard: Shard, folder: Path) -> ShardResult:
    """Write the documents of `shard` under `folder`, and the other files that its reader makes."""
    with DocumentWriter(folder, shard.number) as writer:
        sink = DocumentSink(folder, shard.extractor, shard.heldout_fraction, writer, shard.text_format)
        shard.reader.read(sink)
    return ShardResult(dict(sorted(sink.counts.items())), sink.quarantined)
