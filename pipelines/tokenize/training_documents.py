"""The documents of a corpus in the form for training: kept by filter and dedup, with redactions applied."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from infra.artifact import Artifact
from infra.inputs import Inputs, Node
from pipelines.artifacts.conversations import Conversation, read_conversation
from pipelines.artifacts.documents import iter_kept, iter_kept_with_redactions, shard_paths
from pipelines.artifacts.formats.parquet import read_table
from pipelines.tokenize.packing import Placement


@dataclass(frozen=True)
class TrainingDocuments(Inputs[Node]):
    """The results that make up the training documents of a corpus."""

    source: Node
    filter: Node
    dedup: Node


class KeptShard(NamedTuple):
    """Files of one shard."""

    documents: Path
    filtered: Path
    decisions: Path

    def batches(self, *splits: str) -> Iterator[pa.RecordBatch]:
        """Kept documents of `splits`, in order, redacted."""
        return iter_kept(self.documents, self.filtered, self.decisions, *splits)

    def conversations(self, split: str) -> Iterator[tuple[str, Conversation | None]]:
        """Id and conversation of each kept document of one split, redacted; None for a document that is not a
        conversation."""
        for batch, redactions in iter_kept_with_redactions(*self, split, columns=["attributes"]):
            columns = (batch["doc_id"], batch["text"], batch["attributes"], redactions)
            for doc_id, text, attributes, spans in zip(*(column.to_pylist() for column in columns), strict=True):
                yield doc_id, read_conversation(text, attributes, spans)

    def piece_table(self, placement: Placement, doc_ids: pa.Array) -> pa.Table:
        """PIECES of a placement whose documents are numbered as in `doc_ids`."""
        every_doc_id = read_table(self.documents, columns=["doc_id"])["doc_id"]
        documents = pa.array(placement.document)
        return pa.table(
            {
                "sequence": placement.row,
                "start": placement.start,
                "length": placement.length,
                "doc_id": doc_ids.take(documents),
                "doc_start": placement.doc_start,
                "doc_row": pc.index_in(doc_ids, every_doc_id).take(documents),
            }
        )


def kept_shards(corpus: TrainingDocuments[Artifact]) -> list[KeptShard]:
    """The shards of one corpus, in order."""
    folders = ((corpus.source, "documents"), (corpus.filter, "filtered"), (corpus.dedup, "decisions"))
    columns = (shard_paths(artifact.path, kind) for artifact, kind in folders)
    return [KeptShard(*paths) for paths in zip(*columns, strict=True)]
