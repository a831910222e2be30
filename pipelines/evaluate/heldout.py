"""Which held-out documents are scored, and in which batches: the same for the same tokens, whoever asks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.artifacts.tokens import TokenSequences

TOKENS_PER_BATCH = 2048
"""Predicted ids of one forward pass: small enough for the logits of a large vocabulary on one core."""


@dataclass(frozen=True)
class ScoredPiece:
    """A run of one document; every id but the first is predicted. `num_bytes`: UTF-8 bytes of the predicted ids."""

    doc_id: str
    ids: np.ndarray
    num_bytes: int


def choose_pieces(sequences: TokenSequences, bytes_of_id: np.ndarray, max_bytes: int) -> list[ScoredPiece]:
    """Pieces of the first whole documents by doc_id, a digest, that stay within `max_bytes`; at least one document.

    A document longer than a sequence is scored in the pieces that training would see, each without what stands
    before it: their predicted ids are the document's, each once.
    """
    places: dict[str, list[tuple[int, int, int, int]]] = {}
    for number in range(len(sequences)):
        for piece in sequences.pieces(number):
            places.setdefault(piece.doc_id, []).append((piece.doc_start, number, piece.start, piece.length))
    chosen: list[ScoredPiece] = []
    total = 0
    for doc_id in sorted(places):
        document = []
        for _, number, start, length in sorted(places[doc_id]):
            ids = sequences.ids(number)[start : start + length].astype(np.int64)
            document.append(ScoredPiece(doc_id, ids, int(bytes_of_id[ids[1:]].sum())))
        total += sum(piece.num_bytes for piece in document)
        if chosen and total > max_bytes:
            break
        chosen += document
    return chosen


def batches(pieces: Sequence[ScoredPiece]) -> Iterator[list[int]]:
    """Numbers of pieces that run together, longest first, so that a batch has little padding."""
    batch: list[int] = []
    for number in sorted(range(len(pieces)), key=lambda index: (-len(pieces[index].ids), index)):
        if batch and (len(batch) + 1) * (len(pieces[batch[0]].ids) - 1) > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def padded(pieces: Sequence[ScoredPiece]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ids, positions, segments, targets), each int64 [B, T]; segment and target are -1 in the padding."""
    length = max(len(piece.ids) for piece in pieces) - 1
    ids = np.zeros((len(pieces), length), dtype=np.int64)
    segments = np.full_like(ids, -1)
    targets = np.full_like(ids, -1)
    for row, piece in enumerate(pieces):
        used = len(piece.ids) - 1
        ids[row, :used] = piece.ids[:-1]
        targets[row, :used] = piece.ids[1:]
        segments[row, :used] = 0
    positions = np.broadcast_to(np.arange(length), ids.shape).copy()
    return ids, positions, segments, targets
