"""Bits per byte of held-out documents: how many bits the model needs for a byte of text it has not seen.

Independent of the tokenizer, so checkpoints of different runs can be compared; the measure that moves first on small
models ("Signal and Noise", arXiv 2508.13144).
"""

import math
from collections.abc import Mapping, Sequence

from infra.context import StageContext
from infra.groups.group import Make
from infra.store.journal import Journal
from pipelines.evaluate.data.heldout import ScoredPiece, batches
from pipelines.evaluate.engine.execution import ONE_ACTOR, Execution
from pipelines.evaluate.task import Item, Share, TaskResult, Verdict

NAME = "bits_per_byte"


def protocol(max_document_bytes: int) -> str:
    """The scored part of a document."""
    return f"held-out documents, {max_document_bytes:,} bytes of each at most, in sequences spread evenly over it"


def measure(
    make: Make[Sequence[ScoredPiece], list[float]],
    corpora: Mapping[str, Sequence[ScoredPiece]],
    max_document_bytes: int,
    journal: Journal,
    context: StageContext,
    execution: Execution = ONE_ACTOR,
) -> TaskResult:
    """Bits and bytes of every document, the corpus' name being the measure. Documents are the sampled units, so they
    carry the interval.

    `make` makes a worker that gives the nats of all predicted ids of each piece; `max_document_bytes`: maximum of a
    document in `corpora`.
    """
    by_key = {
        f"nll/{name}/{numbers[0]}": (name, numbers) for name, pieces in corpora.items() for numbers in batches(pieces)
    }
    batch_of = {key: [corpora[name][number] for number in numbers] for key, (name, numbers) in by_key.items()}
    _score([key for key in by_key if key not in journal], batch_of, make, journal, context, execution)
    items: list[Item] = []
    verdicts: list[Verdict] = []
    for name, pieces in corpora.items():
        nats = [0.0] * len(pieces)
        for key, (corpus, numbers) in by_key.items():
            for number, value in zip(numbers, journal[key], strict=True) if corpus == name else ():
                nats[number] = value
        for doc_id, share in by_documents(pieces, nats).items():
            items.append(Item(doc_id, (), ""))
            verdicts.append(Verdict({name: share}, "", ""))
    return TaskResult(NAME, "", protocol(max_document_bytes), items, verdicts, [[] for _ in items])


def _score(
    todo: Sequence[str],
    batch_of: Mapping[str, Sequence[ScoredPiece]],
    make: Make[Sequence[ScoredPiece], list[float]],
    journal: Journal,
    context: StageContext,
    execution: Execution,
) -> None:
    """Score the batches `todo`, and keep each in the journal as it is finished."""
    sizes = {key: sum(len(piece.ids) - 1 for piece in batch) for key, batch in batch_of.items()}
    total = sum(sizes.values())
    done = total - sum(sizes[key] for key in todo)
    context.progress(done, total, "tokens")
    for index, values in execution.map(make, [batch_of[key] for key in todo], context):
        journal.add({todo[index]: values})
        done += sizes[todo[index]]
        context.progress(done, total, "tokens")


def by_documents(pieces: Sequence[ScoredPiece], nats: Sequence[float]) -> dict[str, Share]:
    """Bits and bytes of each document, all its pieces together."""
    shares: dict[str, Share] = {}
    for piece, value in zip(pieces, nats, strict=True):
        before = shares.get(piece.doc_id, Share(0.0, 0.0))
        shares[piece.doc_id] = Share(before.part + value / math.log(2), before.whole + piece.num_bytes)
    return shares
