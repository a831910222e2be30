"""From one id of the training tokens back to the document, its URL and its bytes in a WARC file.

The whole lookup takes arithmetic and two row groups of Parquet, so the time does not grow with the corpus.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.artifact import Artifact
from pipelines.artifacts.documents import TRAIN, shard_paths
from pipelines.artifacts.formats.parquet import ParquetFile
from pipelines.artifacts.tokenization.tokens import Piece, TokenSequences
from pipelines.errors import NotInStoreError

PROVENANCE = ("url", "origin", "offset", "length", "date", "licence", "opt_out", "extractor", "attributes")


@dataclass(frozen=True)
class TokenLocation:
    """One id of a corpus' training tokens and its source.

    `position` = `sequence` * (T + 1) + `offset`; `piece` is the run of a document that it belongs to and `provenance`
    that document's columns, both None in the padding; `doc_position` counts the document's ids from its leading end id.
    """

    corpus: str
    key: str
    position: int
    sequence: int
    offset: int
    token: int
    piece: Piece | None
    provenance: Mapping[str, Any] | None

    @property
    def doc_position(self) -> int | None:
        return self.piece.doc_start + self.offset - self.piece.start if self.piece else None

    def as_fields(self) -> dict[str, Any]:
        """Its fields for display, by name."""
        fields: dict[str, Any] = {
            "tokenize": f"{self.corpus}-{self.key}",
            "position": f"{self.position:,} (sequence {self.sequence:,}, offset {self.offset:,})",
            "token": self.token,
        }
        if self.piece is None or self.provenance is None:
            return {**fields, "document": "none: padding"}
        return {
            **fields,
            "document": self.piece.doc_id,
            "document_token": self.doc_position,
            "piece": f"{self.piece.length:,} tokens from token {self.piece.doc_start:,} of the document on",
            **self.provenance,
        }


def find_token(artifacts: Iterable[Artifact], corpus: str, position: int) -> TokenLocation:
    """The source of the id at `position` of the training tokens of `corpus`.

    `corpus` is a name, or the key of its `tokenize` if the store has several of that name. Raises NotInStoreError.
    """
    by_stage = {(artifact.manifest.name, artifact.manifest.key): artifact for artifact in artifacts}
    tokens = _tokens_of(corpus, [artifact for (name, _), artifact in by_stage.items() if name == "tokenize"])
    sequences = TokenSequences(tokens.path, TRAIN)
    row_length = sequences.index.sequence_length + 1
    if not 0 <= position < len(sequences) * row_length:
        raise NotInStoreError(
            f"corpus {tokens.manifest.subject}: no training token {position:,}: there are {len(sequences):,} sequences "
            f"of {row_length:,}, so positions end at {len(sequences) * row_length - 1:,}."
        )
    sequence, offset = divmod(position, row_length)
    piece = sequences.piece_at(sequence, offset)
    source = by_stage.get(("source", tokens.manifest.inputs["source"]))
    if source is None:
        raise NotInStoreError(
            f"corpus {tokens.manifest.subject}: its source {tokens.manifest.inputs['source']} is not in this store. "
            "Build it again."
        )
    return TokenLocation(
        corpus=tokens.manifest.subject,
        key=tokens.manifest.key,
        position=position,
        sequence=sequence,
        offset=offset,
        token=int(sequences.ids(sequence)[offset]),
        piece=piece,
        provenance=_provenance(source, sequences.locate(sequence)[0], piece) if piece else None,
    )


def _tokens_of(corpus: str, candidates: list[Artifact]) -> Artifact:
    matching = [artifact for artifact in candidates if corpus in (artifact.manifest.subject, artifact.manifest.key)]
    if len(matching) == 1:
        return matching[0]
    available = ", ".join(
        f"{artifact.manifest.subject} ({artifact.manifest.key})" for artifact in matching or candidates
    )
    if matching:
        raise NotInStoreError(f"corpus {corpus}: tokenized {len(matching)} times: {available}. Name one by its key.")
    raise NotInStoreError(f"corpus {corpus}: not tokenized in this store. It has {available or 'none'}.")


def _provenance(source: Artifact, shard: int, piece: Piece) -> dict[str, Any]:
    """The document's columns but its text, from the one row group that has its row."""
    file = ParquetFile(shard_paths(source.path, "documents")[shard])
    row = piece.doc_row
    for group in range(file.num_row_groups):
        num_rows = file.metadata.row_group(group).num_rows
        if row < num_rows:
            [record] = file.read_row_group(group, columns=["doc_id", *PROVENANCE]).slice(row, 1).to_pylist()
            if record.pop("doc_id") != piece.doc_id:
                break
            return dict(record)
        row -= num_rows
    raise NotInStoreError(f"document {piece.doc_id}: not in row {piece.doc_row} of shard {shard} of {source.path}.")
