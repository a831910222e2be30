"""Documents that are packed again are packed as if they had been tokenized for the new length."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.context import StageContext
from pipelines.artifacts.tokenization.tokens import TokensIndex, write_token_shard
from pipelines.tokenize import repack_stage
from pipelines.tokenize.packing import fill_rows, pack
from pipelines.tokenize.repack.shard import Repacked, repack_shard
from tests.kit.stages import committed, idle_stage

PAD = 1


def write_packed(folder: Path, documents: dict[str, list[np.ndarray]], length: int) -> None:
    """One shard: the documents of each split in sequences of `length`, as the stage `tokenize` packs them."""
    counts = {}
    for split, ids in documents.items():
        lengths = np.array([len(document) for document in ids], dtype=np.int64)
        placement = pack(lengths, length + 1)
        names = pa.array([f"doc {number}" for number in range(len(ids))], pa.string())
        pieces = pa.table(
            {
                "sequence": placement.row,
                "start": placement.start,
                "length": placement.length,
                "doc_id": names.take(pa.array(placement.document)),
                "doc_start": placement.doc_start,
                # Every third row of the source is kept.
                "doc_row": placement.document * 3,
            }
        )
        flat = np.concatenate([np.empty(0, np.uint16), *ids])
        write_token_shard(fill_rows(flat, lengths, placement, length + 1, PAD), pieces, folder, split, 0)
        counts[split] = [placement.num_rows]
    sizes = {split: sum(map(len, ids)) for split, ids in documents.items()}
    TokensIndex(length, "uint16", 300, 0, PAD, counts, dict.fromkeys(documents, 1), sizes).write(folder)


def random_documents(lengths: list[int]) -> list[np.ndarray]:
    generator = np.random.default_rng(len(lengths))
    return [generator.integers(2, 300, length).astype(np.uint16) for length in lengths]


@settings(max_examples=25, deadline=None)
@given(
    train=st.lists(st.integers(2, 90), max_size=12),
    heldout=st.lists(st.integers(2, 90), max_size=3),
    before=st.integers(8, 40),
    after=st.integers(8, 100),
)
def test_the_bytes_are_those_of_tokenizing_for_the_new_length(
    tmp_path_factory: pytest.TempPathFactory, train: list[int], heldout: list[int], before: int, after: int
) -> None:
    home = tmp_path_factory.mktemp("repacked")
    documents = {"train": random_documents(train), "heldout": random_documents(heldout)}
    write_packed(home / "before", documents, before)
    write_packed(home / "expected", documents, after)
    committed(home / "before")
    repack_shard(Repacked(0, home / "before", after), home / "found")
    for file in (home / "expected").rglob("*/0*"):
        assert (home / "found" / file.relative_to(home / "expected")).read_bytes() == file.read_bytes(), file.name


def test_the_stage_writes_an_index_of_the_new_length_and_no_token_is_lost(tmp_path: Path) -> None:
    documents = {"train": random_documents([70, 5, 33]), "heldout": random_documents([12])}
    write_packed(tmp_path / "before", documents, 16)
    stage = repack_stage("web", 64, idle_stage("tokenize", "web"))
    out = tmp_path / "out"
    out.mkdir()
    metrics = stage.work(
        StageContext(stage.id, out, tmp_path / "state", [].append), {"tokens": committed(tmp_path / "before")}
    )
    write_packed(tmp_path / "expected", documents, 64)
    assert (out / "tokens.json").read_text() == (tmp_path / "expected" / "tokens.json").read_text()
    assert stage.id == "tokenize[web@64]"
    assert metrics["data/train_tokens"] == 108
    assert metrics["data/train_documents"] == 3
