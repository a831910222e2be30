"""The tokenizer's sample: the first documents of a corpus by a draw, for any order of the shards, up to its bytes."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifacts.documents import DECISIONS, FILTERED, Document, write_documents, write_shard
from pipelines.tokenize import sampling
from pipelines.tokenize.sampling import choose, iter_texts, offer, offer_file, plan_offers
from pipelines.tokenize.training_documents import KeptShard

sizes = st.lists(st.lists(st.integers(0, 40), max_size=8), min_size=1, max_size=5)


def written(folder: Path, shards: list[list[Document]], dropped: frozenset[str] = frozenset()) -> list[KeptShard]:
    for number, shard in enumerate(shards):
        rows = [
            {"doc_id": item.doc_id, "keep": item.doc_id not in dropped, "reason": "", "cluster_size": 1}
            for item in shard
        ]
        filtered = [{**row, "quality": 0.0, "redactions": []} for row in rows]
        write_documents(shard, folder, number)
        write_shard(pa.Table.from_pylist(filtered, schema=FILTERED), folder / "filtered", number)
        write_shard(pa.Table.from_pylist(rows, schema=DECISIONS), folder / "decisions", number)
    kinds = ("documents", "filtered", "decisions")
    return [KeptShard(*(folder / kind / f"{n:05d}.parquet" for kind in kinds)) for n in range(len(shards))]


def documents(lengths: list[list[int]], split: str = "train") -> list[list[Document]]:
    return [
        [Document("é" * length, f"https://example.org/{shard}/{n}", "test", split) for n, length in enumerate(row)]
        for shard, row in enumerate(lengths)
    ]


def sampled(folder: Path, shards: list[KeptShard], sample_bytes: int) -> tuple[list[str], list[str]]:
    """Ids and texts of the sample."""
    offers = plan_offers({"web": shards}, sample_bytes)
    complete = []
    for shard in reversed(offers):
        out = folder / f"out-{shard.number}"
        out.mkdir()
        complete.insert(0, offer(shard, out)["complete"])
    files = [offer_file(folder / f"out-{shard.number}", shard.number) for shard in offers]
    sample = choose(files, complete, sample_bytes)
    return sample["doc_id"].to_pylist(), list(iter_texts(files, sample))


def by_draw(items: list[Document]) -> list[Document]:
    return sorted(items, key=lambda item: hashlib.sha256(f"tokenizer sample\n{item.doc_id}".encode()).digest()[:8])


@settings(max_examples=25)
@given(lengths=sizes, sample_bytes=st.integers(1, 500))
def test_sample_is_the_first_documents_of_all_shards_by_draw(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[list[int]], sample_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("sample")
    shards = documents(lengths)
    expected: list[Document] = []
    for item in by_draw([item for shard in shards for item in shard]):
        if sum(len(taken.text.encode()) for taken in expected) < sample_bytes:
            expected.append(item)
    ids, texts = sampled(folder, written(folder, shards), sample_bytes)
    assert ids == [item.doc_id for item in expected]
    assert sorted(texts) == sorted(item.text for item in expected)


def test_only_kept_training_documents_are_drawn(tmp_path: Path) -> None:
    [remaining, dropped], [heldout] = documents([[30, 31]])[0], documents([[32]], "heldout")[0]
    shards = written(tmp_path, [[remaining, dropped, heldout]], frozenset([dropped.doc_id]))
    assert sampled(tmp_path, shards, 10**6) == ([remaining.doc_id], [remaining.text])


def test_document_outside_the_sample_can_be_taken_down_without_a_trace(tmp_path: Path) -> None:
    shards = documents([[20] * 30, [20] * 30])
    selected, _ = sampled(tmp_path, written(tmp_path / "before", shards), 400)
    outside = next(item.doc_id for shard in shards for item in shard if item.doc_id not in selected)
    (tmp_path / "again").mkdir()
    after, _ = sampled(tmp_path / "again", written(tmp_path / "after", shards, frozenset([outside])), 400)
    assert after == selected
    assert 0 < len(selected) < 60


def test_sample_ends_where_an_offer_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing after the last document of a shard that offers too few is known to be next."""
    monkeypatch.setattr(sampling, "SHARE_FACTOR", 1)
    monkeypatch.setattr(sampling, "SHARE_SLACK_BYTES", 0)
    shards = documents([[20] * 40, [20] * 40])
    dropped = frozenset(item.doc_id for item in shards[0][1:])
    ids, _ = sampled(tmp_path, written(tmp_path, shards, dropped), 1200)
    order = [
        item.doc_id for item in by_draw([item for shard in shards for item in shard if item.doc_id not in dropped])
    ]
    assert ids == order[: len(ids)]
    assert 10 <= len(ids) < 30


def test_shards_are_looked_through_in_proportion_to_their_number(tmp_path: Path, monkeypatch) -> None:
    """Counted: the rows that NumPy's searches and the sizes that sums go through, for any offers."""
    touched = 0

    def counting(function):
        def counted(values, *others, **options):
            nonlocal touched
            touched += len(values)
            return function(values, *others, **options)

        return counted

    for name in ("flatnonzero", "cumsum", "sum"):
        monkeypatch.setattr(sampling.np, name, counting(getattr(sampling.np, name)))
    monkeypatch.setattr(sampling, "sum", counting(sum), raising=False)
    counts = []
    for num_shards in (20, 40, 80):
        folder = tmp_path / str(num_shards)
        folder.mkdir()
        shards = written(folder, documents([[3, 4]] * num_shards))
        touched = 0
        plan_offers({"web": shards}, 10**6)
        files = []
        for number in range(num_shards):
            file = folder / f"offer-{number}.parquet"
            ids = pa.array([f"{number}-{n}" for n in range(2)])
            draws = pa.array([number, number + num_shards], pa.uint64())
            texts = pa.array(["ab"] * 2, pa.large_string())
            columns = [draws, ids, pa.array([2, 2], pa.int64()), texts]
            sampling.pq.write_table(pa.Table.from_arrays(columns, schema=sampling.OFFER), file)
            files.append(file)
        choose(files, [False] * num_shards, 10**6)
        counts.append(touched)
    assert counts[1] < 2.2 * counts[0] and counts[2] < 2.2 * counts[1]
