"""The shards of a corpus with the sidecars that say what of them is kept."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from infra.store import Artifact
from pipelines.artifacts.documents import iter_kept, shard_paths

SIDES = {"source": "documents", "filter": "filtered", "dedup": "decisions"}
"""The stages that make a corpus what it is for training, with the kind of shard that each writes."""


class KeptShard(NamedTuple):
    """Files of one shard."""

    documents: Path
    filtered: Path
    decisions: Path

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """Kept documents of one split, in order, redacted."""
        return iter_kept(self.documents, self.filtered, self.decisions, split)


def kept_shards(artifacts: Mapping[str, Artifact]) -> list[KeptShard]:
    """The shards of one corpus in order, from the artifacts of SIDES."""
    columns = (shard_paths(artifacts[side].path, kind) for side, kind in SIDES.items())
    return [KeptShard(*paths) for paths in zip(*columns, strict=True)]
