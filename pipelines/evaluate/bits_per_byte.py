"""Bits per byte of held-out documents: how many bits the model needs for a byte of text it has not seen.

Independent of the tokenizer, so checkpoints of different runs can be compared; the measure that moves first on small
models ("Signal and Noise", arXiv 2508.13144).
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from infra.context import StageContext
from infra.groups.group import Make
from infra.store.journal import Journal
from pipelines.evaluate.data.heldout import ScoredPiece, batches, position_buckets
from pipelines.evaluate.engine.execution import ONE_ACTOR, Execution
from pipelines.evaluate.task import Item, Share, TaskResult, Verdict

NAME = "bits_per_byte"
BY_POSITION = "bits_per_byte_by_position"
STREAMED = "bits_per_byte_streamed"

MakeScorer = Make[Sequence[ScoredPiece], list[list[float]]]
"""Makes a worker that gives the nats of the predicted ids of each piece, by bucket of positions."""


def protocol(max_document_bytes: int) -> str:
    """The scored part of a document."""
    return f"held-out documents, {max_document_bytes:,} bytes of each at most, in sequences spread evenly over it"


def position_protocol(sequence_length: int) -> str:
    """The part that is scored by position."""
    return (
        f"of the same sequences those that one document fills, {sequence_length:,} tokens; each bucket ends at the "
        "position in its name"
    )


def stream_protocol(window: int, sinks: int) -> str:
    """The part that a stream reads."""
    return f"whole held-out documents; each token sees the first {sinks} tokens and the newest {window}"


def measure_nats(
    name: str,
    make: MakeScorer,
    corpora: Mapping[str, Sequence[ScoredPiece]],
    journal: Journal,
    context: StageContext,
    execution: Execution = ONE_ACTOR,
) -> dict[str, list[list[float]]]:
    """Nats of every piece by bucket of positions, by corpus. `name` is the measure's."""
    by_key = {
        f"{name}/{corpus}/{numbers[0]}": (corpus, numbers)
        for corpus, pieces in corpora.items()
        for numbers in batches(pieces)
    }
    batch_of = {key: [corpora[corpus][number] for number in numbers] for key, (corpus, numbers) in by_key.items()}
    _score([key for key in by_key if key not in journal], batch_of, make, journal, context, execution)
    nats: dict[str, list[list[float]]] = {corpus: [[] for _ in pieces] for corpus, pieces in corpora.items()}
    for key, (corpus, numbers) in by_key.items():
        for number, values in zip(numbers, journal[key], strict=True):
            nats[corpus][number] = values
    return nats


def of_documents(
    name: str, protocol: str, corpora: Mapping[str, Sequence[ScoredPiece]], nats: Mapping[str, list[list[float]]]
) -> TaskResult:
    """Bits and bytes of every document, the corpus' name being the measure. Documents are the sampled units, so they
    carry the interval."""
    items: list[Item] = []
    verdicts: list[Verdict] = []
    for corpus, pieces in corpora.items():
        for doc_id, share in by_documents(pieces, [sum(values) for values in nats[corpus]]).items():
            items.append(Item(doc_id, (), ""))
            verdicts.append(Verdict({corpus: share}, "", ""))
    return TaskResult(name, "", protocol, items, verdicts, [[] for _ in items])


def of_positions(
    sequence_length: int,
    corpora: Mapping[str, Sequence[ScoredPiece]],
    nats: Mapping[str, list[list[float]]],
    num_bytes: Callable[[np.ndarray], int],
) -> TaskResult:
    """Bits and bytes by bucket of positions, of the pieces that fill a sequence: so all buckets are of the same
    documents. `num_bytes`: see `TextTokenizer.num_predicted_bytes`."""
    buckets = position_buckets(sequence_length)
    shares: dict[str, dict[str, Share]] = {}
    for corpus, pieces in corpora.items():
        full = [index for index, piece in enumerate(pieces) if len(piece.ids) == sequence_length + 1]
        for number, bucket in enumerate(buckets):
            parts = [pieces[index].ids[bucket.start : bucket.stop + 1] for index in full]
            excerpts = [
                ScoredPiece(pieces[index].doc_id, ids, num_bytes(ids)) for index, ids in zip(full, parts, strict=True)
            ]
            bits = by_documents(excerpts, [nats[corpus][index][number] for index in full])
            for doc_id, share in bits.items():
                shares.setdefault(doc_id, {})[f"{corpus}/{bucket.stop}"] = share
    items = [Item(doc_id, (), "") for doc_id in shares]
    verdicts = [Verdict(by_bucket, "", "") for by_bucket in shares.values()]
    return TaskResult(BY_POSITION, "", position_protocol(sequence_length), items, verdicts, [[] for _ in items])


def _score(
    todo: Sequence[str],
    batch_of: Mapping[str, Sequence[ScoredPiece]],
    make: MakeScorer,
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
