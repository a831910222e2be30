"""Corpora at the edges: nothing, giants, one text a million times."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_recipes.schema import DedupSection
from infra.context import StageContext
from pipelines import dedup
from pipelines.artifacts.documents import Document
from pipelines.dedup.minhash import shingle
from tests.kit.stages import committed, idle_stage


def test_a_corpus_of_one_document_is_kept(deduplicate):
    made = deduplicate([[Document("alone", "a", "test")]])
    assert made.metrics["data/documents"] == 1 and made.metrics["data/clusters"] == 0
    assert made.metrics["data/largest_cluster"] == 1 and len(made.kept()) == 1


def test_a_corpus_of_which_nothing_passed_has_no_duplicates(deduplicate):
    made = deduplicate([[Document("alone", "a", "test")], []], dropped=("a",))
    assert made.metrics["data/documents_in"] == made.metrics["data/documents"] == 0


def test_a_text_array_without_a_buffer_is_hashed():
    assert shingle(pa.array(["", ""], pa.large_string()), 5).counts.tolist() == [1, 1]


@pytest.mark.slow
def test_documents_of_fifty_megabytes_are_compared_like_others(deduplicate):
    """A giant, its copy with one word changed, and its first half."""
    digits = np.random.default_rng(0).integers(0, 10**6, 7_000_000)
    giant = " ".join(map(str, digits))
    assert len(giant) > 48_000_000
    texts = [giant, giant.replace(" 77 ", " changed "), giant[: len(giant) // 2]]
    documents = [Document(text, f"{n}", "test") for n, text in enumerate(texts)]
    result = deduplicate([documents[:2], documents[2:]]).decisions()
    near = result[documents[1].doc_id] if not result[documents[1].doc_id]["keep"] else result[documents[0].doc_id]
    assert near["jaccard"] > 0.99 and near["reason"] == "near_duplicate"
    assert result[documents[2].doc_id]["keep"]


@pytest.mark.slow
def test_a_million_identical_documents_are_one(tmp_path):
    """And a thousand near copies of it, over ten shards; written as tables, for speed."""
    text = " ".join(f"word{n}" for n in range(100))
    for shard in range(10):
        digits = np.random.default_rng(shard).bytes(16 * 100_000).hex()
        ids = [digits[start : start + 32] for start in range(0, len(digits), 32)]
        texts = [f"{text} {shard} {n}" if n < 100 else text for n in range(100_000)]
        for kind, table in {
            "documents": pa.table(
                {"doc_id": ids, "text": pa.array(texts, pa.large_string()), "origin": ["a"] * 100_000}
            ),
            "filtered": pa.table({"keep": [True] * 100_000, "quality": [0.0] * 100_000}),
        }.items():
            (tmp_path / kind).mkdir(exist_ok=True)
            pq.write_table(table, tmp_path / kind / f"{shard:05d}.parquet")
    source = idle_stage("source", "notes")
    stage = dedup.stage("notes", DedupSection(), {}, tmp_path, dedup.DedupInputs(source, source))
    (tmp_path / "out").mkdir()
    (tmp_path / "state").mkdir()
    context = StageContext("dedup[notes]", tmp_path / "out", tmp_path / "state", [].append)
    metrics = stage.work(context, dict.fromkeys(("source", "filter"), committed(tmp_path)))
    assert metrics["data/documents"] == 1
    assert metrics["data/largest_cluster"] == 1_000_000
    assert metrics["data/pairs_compared"] < 10_000
