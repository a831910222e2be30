"""Bits per byte of known models on known documents."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.artifact import Artifact
from infra.context import StageContext
from infra.store.journal import Journal
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.artifacts.tokenization.tokens import TokenSequences
from pipelines.evaluate import bits_per_byte
from pipelines.evaluate.data import heldout
from pipelines.evaluate.data.heldout import (
    ScoredPiece,
    batches,
    choose_pieces,
    padded,
    position_buckets,
    spread_evenly,
    whole_documents,
)
from pipelines.evaluate.evaluation import scores


class BitsOfId:
    """A "model" that needs id % 7 bits for each predicted id."""

    def __init__(self, fail_after: int = 10**9) -> None:
        self.calls = 0
        self.fail_after = fail_after

    def nll(self, pieces: Sequence[ScoredPiece]) -> list[list[float]]:
        self.calls += 1
        if self.calls > self.fail_after:
            raise KeyboardInterrupt
        bits = [piece.ids[1:] % 7 for piece in pieces]
        return [[float(each[bucket].sum()) * math.log(2) for bucket in position_buckets(len(each))] for each in bits]


@pytest.fixture(scope="module")
def tokenizer(corpus: dict[str, Artifact]) -> TextTokenizer:
    return TextTokenizer(corpus["tokenizer"].path)


@pytest.fixture(scope="module")
def texts(corpus: dict[str, Artifact]) -> dict[str, str]:
    """Held-out text by doc_id, read from the source itself."""
    table = pq.read_table(corpus["source"].path / "documents").to_pylist()
    return {row["doc_id"]: row["text"] for row in table if row["split"] == "heldout"}


def pieces_of(
    corpus: dict[str, Artifact], tokenizer: TextTokenizer, max_bytes: int, max_document_bytes: int = 10**6
) -> list[ScoredPiece]:
    sequences = TokenSequences(corpus["tokens"].path, "heldout")
    return choose_pieces(sequences, tokenizer.num_predicted_bytes, max_bytes, max_document_bytes)


def measure(pieces: list[ScoredPiece], scorer: BitsOfId, folder: Path) -> dict:
    events: list[dict] = []
    with Journal(folder / "items.jsonl") as journal:
        context = StageContext("evaluate[1]", folder, folder, events.append)
        corpora: dict[str, list[ScoredPiece]] = {"notes": pieces, "empty": []}
        nats = bits_per_byte.measure_nats("bits_per_byte", lambda _: scorer.nll, corpora, journal, context)
        result = bits_per_byte.of_documents("bits_per_byte", "", corpora, nats)
    assert events[-1]["done"] == events[-1]["total"] == sum(len(piece.ids) - 1 for piece in pieces)
    return scores([result], {})


def test_score_is_bits_of_all_ids_over_bytes_of_the_same_documents(
    corpus: dict[str, Artifact], tokenizer: TextTokenizer, texts: dict[str, str], tmp_path: Path
) -> None:
    result = measure(pieces_of(corpus, tokenizer, 10**6), BitsOfId(), tmp_path)
    bits = sum(index % 7 for text in texts.values() for index in [*tokenizer.encode(text), tokenizer.end_id])
    score = result["bits_per_byte/notes"]
    assert list(result) == ["bits_per_byte/notes"]
    assert score.value == pytest.approx(bits / sum(len(text.encode()) for text in texts.values()), rel=1e-12)
    assert score.n == len(texts)
    assert score.low < score.value < score.high


def test_documents_are_whole_within_the_bytes_and_first_by_digest(
    corpus: dict[str, Artifact], tokenizer: TextTokenizer, texts: dict[str, str]
) -> None:
    pieces = pieces_of(corpus, tokenizer, 1500)
    selected = {piece.doc_id: 0 for piece in pieces}
    for piece in pieces:
        selected[piece.doc_id] += piece.num_bytes
    assert selected == {doc_id: len(texts[doc_id].encode()) for doc_id in sorted(texts)[: len(selected)]}
    assert 1 < len(selected) < len(texts)
    assert sum(selected.values()) <= 1500 < sum(selected.values()) + len(texts[sorted(texts)[len(selected)]].encode())
    assert len({piece.doc_id for piece in pieces_of(corpus, tokenizer, 1)}) == 1


@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=200),
    st.integers(1, 20_000),
)
def test_an_excerpt_is_spread_evenly_within_its_bytes(sizes: list[int], max_bytes: int) -> None:
    document = [ScoredPiece("d", np.full(2, number), size) for number, size in enumerate(sizes)]
    locations = [int(piece.ids[0]) for piece in spread_evenly(document, max_bytes)]
    assert locations == sorted(set(locations))
    assert len(locations) == 1 or sum(sizes[location] for location in locations) <= max_bytes
    assert sum(sizes) > max_bytes or locations == list(range(len(sizes)))
    gaps = np.diff([-locations[0] - 1, *locations, 2 * len(sizes) - locations[-1]])
    assert max(gaps) - min(gaps) <= 2, "ends count twice their distance"


@given(st.integers(1, 10**6))
def test_buckets_of_positions_double_and_hold_every_position_once(num_predicted: int) -> None:
    buckets = position_buckets(num_predicted)
    assert [bucket.start for bucket in buckets] == [0, *(bucket.stop for bucket in buckets[:-1])]
    assert buckets[-1].stop == num_predicted
    assert all(bucket.stop == 256 * 2**number for number, bucket in enumerate(buckets[:-1]))


def test_a_position_is_measured_on_the_documents_that_reach_all_positions(tmp_path: Path) -> None:
    """By plain loops: bits and bytes of the ids of full sequences, whose n-th predicted id has the position n."""
    draw = np.random.default_rng(1)
    lengths = {"a": 1025, "b": 700, "c": 1025, "d": 200}
    pieces = [
        ScoredPiece(name, ids, len(ids) - 1)
        for name, ids in ((name, draw.integers(0, 99, length)) for name, length in lengths.items())
    ]
    with Journal(tmp_path / "items.jsonl") as journal:
        context = StageContext("evaluate[1]", tmp_path, tmp_path, [].append)
        nats = bits_per_byte.measure_nats("x", lambda _: BitsOfId().nll, {"notes": pieces}, journal, context)
    result = bits_per_byte.of_positions(1024, {"notes": pieces}, nats, lambda ids: len(ids) - 1)
    expected = {}
    for end, start in ((256, 0), (512, 256), (1024, 512)):
        bits = [int(pieces[index].ids[position]) % 7 for index in (0, 2) for position in range(start + 1, end + 1)]
        expected[f"bits_per_byte_by_position/notes/{end}"] = sum(bits) / len(bits)
    actual = scores([result], {})
    assert {name: score.value for name, score in actual.items()} == pytest.approx(expected, rel=1e-12)
    assert {score.n for score in actual.values()} == {2}


def test_whole_documents_are_their_texts(
    corpus: dict[str, Artifact], tokenizer: TextTokenizer, texts: dict[str, str]
) -> None:
    documents = whole_documents(TokenSequences(corpus["tokens"].path, "heldout"), tokenizer.num_predicted_bytes, 10**6)
    assert {document.doc_id: tokenizer.decode(document.ids[1:-1]) for document in documents} == texts
    assert {document.doc_id: document.num_bytes for document in documents} == {
        doc_id: len(text.encode()) for doc_id, text in texts.items()
    }


def test_long_documents_leave_room_for_others(corpus: dict[str, Artifact], tokenizer: TextTokenizer) -> None:
    whole, excerpts = (pieces_of(corpus, tokenizer, 1500, size) for size in (10**6, 200))
    assert len({piece.doc_id for piece in excerpts}) > len({piece.doc_id for piece in whole})
    for doc_id in {piece.doc_id for piece in excerpts}:
        taken = [piece.num_bytes for piece in excerpts if piece.doc_id == doc_id]
        assert len(taken) == 1 or sum(taken) <= 200


def test_killed_measurement_goes_on_and_ends_in_the_same_number(
    corpus: dict[str, Artifact], tokenizer: TextTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heldout, "TOKENS_PER_BATCH", 64)
    pieces = pieces_of(corpus, tokenizer, 10**6)
    undisturbed = BitsOfId()
    expected = measure(pieces, undisturbed, tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        measure(pieces, BitsOfId(fail_after=3), tmp_path / "killed")
    rest = BitsOfId()
    assert measure(pieces, rest, tmp_path / "killed") == expected
    assert rest.calls == undisturbed.calls - 3


@given(st.lists(st.integers(2, 40), max_size=30), st.integers(8, 100))
def test_batches_hold_each_piece_once_and_stay_within_their_size(lengths: list[int], size: int) -> None:
    pieces = [ScoredPiece("d", np.zeros(length, dtype=np.int64), length) for length in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heldout, "TOKENS_PER_BATCH", size)
        result = list(batches(pieces))
    assert sorted(number for batch in result for number in batch) == list(range(len(pieces)))
    for batch in result:
        longest = max(lengths[number] for number in batch) - 1
        assert len(batch) == 1 or len(batch) * longest <= size


def test_padded_batch_asks_for_nothing_in_its_padding() -> None:
    pieces = [ScoredPiece("a", np.array([0, 5, 6, 0]), 2), ScoredPiece("b", np.array([0, 9]), 1)]
    ids, positions, segments, targets = padded(pieces)
    assert ids[0].tolist() == [0, 5, 6]
    assert positions.tolist() == [[0, 1, 2]] * 2
    assert segments.tolist() == [[0, 0, 0], [0, -1, -1]]
    assert targets.tolist() == [[5, 6, 0], [9, -1, -1]]
