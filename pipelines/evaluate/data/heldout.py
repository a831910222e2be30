"""Which held-out documents are scored, and in which batches: the same for the same tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipelines.artifacts.tokenization.tokens import TokenSequences

TOKENS_PER_BATCH = 2048
"""Predicted ids of one forward pass: small enough for the logits of a large vocabulary on one core."""
FIRST_BUCKET = 256
"""Predicted ids of the first bucket of positions."""


@dataclass(frozen=True)
class ScoredPiece:
    """A run of one document; every id but the first is predicted. `num_bytes`: UTF-8 bytes of the predicted ids."""

    doc_id: str
    ids: np.ndarray
    num_bytes: int


def choose_pieces(
    sequences: TokenSequences, num_bytes: Callable[[np.ndarray], int], max_bytes: int, max_document_bytes: int
) -> list[ScoredPiece]:
    """Pieces of the first documents by doc_id, a digest, that stay within `max_bytes`; of at least one document.

    A document longer than a sequence is scored in the pieces that training would see, each without its preceding text.
    Of one longer than `max_document_bytes` only some are taken, spread evenly over it: many documents are more
    informative than all of a few, whose size would decide the score. `num_bytes`: see
    `TextTokenizer.num_predicted_bytes`.
    """
    pieces_by_document: dict[str, list[tuple[int, int, int, int]]] = {}
    for number in range(len(sequences)):
        for piece in sequences.pieces(number):
            pieces_by_document.setdefault(piece.doc_id, []).append((piece.doc_start, number, piece.start, piece.length))
    excerpts: list[ScoredPiece] = []
    total = 0
    for doc_id in sorted(pieces_by_document):
        document = []
        for _, number, start, length in sorted(pieces_by_document[doc_id]):
            ids = sequences.ids(number)[start : start + length].astype(np.int64)
            document.append(ScoredPiece(doc_id, ids, num_bytes(ids)))
        excerpt = spread_evenly(document, max_document_bytes)
        total += sum(piece.num_bytes for piece in excerpt)
        if excerpts and total > max_bytes:
            break
        excerpts += excerpt
    return excerpts


def whole_documents(
    sequences: TokenSequences, num_bytes: Callable[[np.ndarray], int], max_bytes: int
) -> list[ScoredPiece]:
    """The first documents by doc_id that stay within `max_bytes`, at least one, each as one run of ids."""
    by_document: dict[str, list[np.ndarray]] = {}
    for piece in choose_pieces(sequences, num_bytes, max_bytes, sum(sequences.index.text_bytes.values())):
        runs = by_document.setdefault(piece.doc_id, [])
        # A piece begins with the last id of the one before it.
        runs.append(piece.ids[1:] if runs else piece.ids)
    documents = {doc_id: np.concatenate(runs) for doc_id, runs in by_document.items()}
    return [ScoredPiece(doc_id, ids, num_bytes(ids)) for doc_id, ids in documents.items()]


def position_buckets(num_predicted: int) -> list[slice]:
    """Slices of the predicted ids of a piece: the first 256, then each bucket as long as all before it.

    >>> position_buckets(600)
    [slice(0, 256, None), slice(256, 512, None), slice(512, 600, None)]
    """
    ends = [0]
    while ends[-1] < num_predicted:
        ends.append(min(num_predicted, 2 * ends[-1] or FIRST_BUCKET))
    return [slice(*pair) for pair in pairwise(ends)]


def spread_evenly(document: Sequence[ScoredPiece], max_bytes: int) -> list[ScoredPiece]:
    """Pieces of a document at equal distances that fit into `max_bytes`; at least one, which may be larger."""
    size = sum(piece.num_bytes for piece in document)
    count = len(document) if size <= max_bytes else max(1, len(document) * max_bytes // size)
    while True:
        pieces = [document[(2 * index + 1) * len(document) // (2 * count)] for index in range(count)]
        if count == 1 or sum(piece.num_bytes for piece in pieces) <= max_bytes:
            return pieces
        count -= 1


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
