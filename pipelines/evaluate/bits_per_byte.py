"""Bits per byte of held-out documents: how many bits the model needs for a byte of text it has not seen.

Independent of the tokenizer, so checkpoints of different runs can be compared; the measure that moves first on small
models ("Signal and Noise", arXiv 2508.13144).
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from infra.context import StageContext
from infra.store.journal import Journal
from pipelines.evaluate.data.heldout import ScoredPiece, batches
from pipelines.evaluate.task import Item, Share, TaskResult, Verdict

if TYPE_CHECKING:
    from pipelines.evaluate.scorer import Scorer

NAME = "bits_per_byte"


def protocol(max_document_bytes: int) -> str:
    """What is scored of a document."""
    return f"held-out documents, {max_document_bytes:,} bytes of each at most, in sequences spread evenly over it"


def measure(
    scorer: "Scorer",
    corpora: Mapping[str, Sequence[ScoredPiece]],
    max_document_bytes: int,
    journal: Journal,
    context: StageContext,
) -> TaskResult:
    """Bits and bytes of every document, the corpus' name being the measure. Documents are what was drawn, so they
    carry the interval. `max_document_bytes`: what `corpora` hold of a document at most."""
    total = sum(len(piece.ids) - 1 for pieces in corpora.values() for piece in pieces)
    done = 0
    items: list[Item] = []
    verdicts: list[Verdict] = []
    for name, pieces in corpora.items():
        nats = [0.0] * len(pieces)
        for numbers in batches(pieces):
            batch = [pieces[number] for number in numbers]
            values = journal.remember(f"nll/{name}/{numbers[0]}", partial(scorer.nll, batch))
            for number, value in zip(numbers, values, strict=True):
                nats[number] = value
            done += sum(len(piece.ids) - 1 for piece in batch)
            context.progress(done, total, "tokens")
        for doc_id, share in by_documents(pieces, nats).items():
            items.append(Item(doc_id, (), ""))
            verdicts.append(Verdict({name: share}, "", ""))
    return TaskResult(NAME, "", protocol(max_document_bytes), items, verdicts, [[] for _ in items])


def by_documents(pieces: Sequence[ScoredPiece], nats: Sequence[float]) -> dict[str, Share]:
    """Bits and bytes of each document, all its pieces together."""
    shares: dict[str, Share] = {}
    for piece, value in zip(pieces, nats, strict=True):
        before = shares.get(piece.doc_id, Share(0.0, 0.0))
        shares[piece.doc_id] = Share(before.part + value / math.log(2), before.whole + piece.num_bytes)
    return shares
