"""Bits per byte of held-out documents: how many bits the model needs for a byte of text it has not seen.

Independent of the tokenizer, so checkpoints of different runs can be compared; the measure that moves first on small
models ("Signal and Noise", arXiv 2508.13144).
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from infra.context import StageContext
from pipelines.artifacts.report import Score
from pipelines.evaluate.heldout import ScoredPiece, batches
from pipelines.evaluate.intervals import ratio
from pipelines.evaluate.journal import Journal

if TYPE_CHECKING:
    from pipelines.evaluate.scorer import Scorer


def measure(
    scorer: "Scorer", corpora: Mapping[str, Sequence[ScoredPiece]], journal: Journal, context: StageContext
) -> dict[str, Score]:
    """The score of each corpus that has pieces, as `bits_per_byte/<corpus>`, with documents as its items."""
    total = sum(len(piece.ids) - 1 for pieces in corpora.values() for piece in pieces)
    done = 0
    scores = {}
    for name, pieces in corpora.items():
        nats = [0.0] * len(pieces)
        for numbers in batches(pieces):
            batch = [pieces[number] for number in numbers]
            values = journal.remember(f"nll/{name}/{numbers[0]}", partial(scorer.nll, batch))
            for number, value in zip(numbers, values, strict=True):
                nats[number] = value
            done += sum(len(piece.ids) - 1 for piece in batch)
            context.progress(done, total, "tokens")
        if pieces:
            scores[f"bits_per_byte/{name}"] = by_documents(pieces, nats)
    return scores


def by_documents(pieces: Sequence[ScoredPiece], nats: Sequence[float]) -> Score:
    """Bits of all documents over their bytes; documents are what was drawn, so they carry the interval."""
    bits: dict[str, float] = {}
    num_bytes: dict[str, int] = {}
    for piece, value in zip(pieces, nats, strict=True):
        bits[piece.doc_id] = bits.get(piece.doc_id, 0.0) + value / math.log(2)
        num_bytes[piece.doc_id] = num_bytes.get(piece.doc_id, 0) + piece.num_bytes
    return ratio(list(bits.values()), list(num_bytes.values()))
