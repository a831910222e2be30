"""What one shard of `source` does: read its part of the inputs, write documents, count what it passed over."""

from dataclasses import dataclass
from pathlib import Path

from infra.fanout import ShardResult
from pipelines.artifacts.documents import DocumentWriter
from pipelines.source.reading import Part, Reading
from pipelines.source.web.extraction.extract import Extractor


@dataclass(frozen=True)
class Shard:
    """One part of the inputs with its number and how to make documents of it."""

    number: int
    part: Part
    extractor: Extractor
    heldout_fraction: float


def read_shard(shard: Shard, folder: Path) -> ShardResult:
    """Write the documents of `shard` under `folder`, and what files else its part makes."""
    with DocumentWriter(folder, shard.number) as writer:
        reading = Reading(folder, shard.extractor, shard.heldout_fraction, writer)
        shard.part.read(reading)
    return ShardResult(dict(sorted(reading.counts.items())), reading.quarantined)
