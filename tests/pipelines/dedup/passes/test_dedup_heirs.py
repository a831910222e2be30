"""A shard finds out which document stands for another one without reading the shards that this was decided in."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.artifacts.conversations import ASSISTANT, USER, Conversation, Turn
from pipelines.artifacts.documents import DECISIONS, Document, write_documents, write_shard
from pipelines.dedup.clustering import cluster_shards
from pipelines.dedup.deduplicate import LocalPasses
from pipelines.dedup.options import DedupOptions
from pipelines.dedup.passes.heirs import Heirs, JoinHeirs, SortHeirs
from pipelines.dedup.tasks import NewShard


def ids_of(draw: random.Random, number: int) -> list[str]:
    """Random ids, and those whose bytes sort badly as text or as numbers."""
    edges = ["0" * 32, "f" * 32, "00" * 15 + "01", "01" + "00" * 15, "7f" * 16, "80" + "00" * 15, "80" * 16]
    return [*edges, *(f"{draw.getrandbits(128):032x}" for _ in range(number))]


def decided(doc_id: str, kept_id: str | None, size: int) -> dict[str, object]:
    return {
        "doc_id": doc_id,
        "keep": kept_id is None,
        "reason": "" if kept_id is None else "near_duplicate",
        "kept_id": kept_id,
        "cluster_size": size,
    }


def joined(shards: list[list[dict[str, object]]], num_ranges: int, folder: Path) -> Heirs:
    """What the passes leave for these decisions."""
    for number, rows in enumerate(shards):
        write_shard(pa.Table.from_pylist(rows, schema=DECISIONS), folder / "decisions", number)
        SortHeirs(number, folder / "decisions" / f"{number:05d}.parquet").run(made(folder / f"sort-{number}"))
    for number in range(len(shards)):
        for file in (folder / f"sort-{number}" / "runs").iterdir():
            file.rename(made(folder / "runs") / file.name)
    for number in range(num_ranges):
        JoinHeirs(number, num_ranges, folder / "runs", len(shards)).run(made(folder / f"join-{number}"))
        for file in (folder / f"join-{number}" / "ranges").iterdir():
            file.rename(made(folder / "ranges") / file.name)
    return Heirs(folder / "ranges", num_ranges)


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("num_ranges", [1, 2, 7])
def test_every_document_whose_prompt_another_one_has_is_found_and_no_other(tmp_path, num_ranges):
    draw = random.Random(num_ranges)
    ids = ids_of(draw, 300)
    heir = {each: draw.choice([None, draw.choice(ids)]) for each in ids}
    size = {each: draw.choice([1, 2, 2_000_000_000]) for each in ids}
    rows = [decided(each, heir[each], size[each] if heir[each] is None else max(2, size[each])) for each in ids]

    result = joined([rows[start::5] for start in range(5)], num_ranges, tmp_path).of(
        pa.chunked_array([[*ids, None, "ab" * 16, ids[3]]])
    )

    expected = {row["doc_id"]: row for row in rows if row["cluster_size"] > 1}
    assert sorted(result["doc_id"].to_pylist()) == sorted(expected)
    for row in result.to_pylist():
        assert row["kept_id"] == (expected[row["doc_id"]]["kept_id"] or row["doc_id"])
        assert row["cluster_size"] == expected[row["doc_id"]]["cluster_size"]


@pytest.mark.parametrize("rows", [[], [decided("ab" * 16, None, 1)]])
def test_no_two_alike_is_a_table_without_rows(tmp_path, rows):
    assert len(joined([rows, rows], 1, tmp_path).of(pa.chunked_array([["ab" * 16]]))) == 0


@pytest.mark.parametrize("pass_name", ["prompt-sort", "prompt-merge"])
def test_a_task_opens_as_many_files_in_a_corpus_of_any_size(tmp_path, monkeypatch, texts, pass_name):
    numbers = []
    for num_shards in (3, 12):
        folder = made(tmp_path / str(num_shards))
        shards = [write_chats(folder, number, texts) for number in range(num_shards)]
        with ThreadPoolExecutor(1) as executor:
            passes = CountingPasses(LocalPasses(folder, executor), pass_name, monkeypatch)
            cluster_shards(DedupOptions(), shards, [], passes, folder, first_prompts=True)
        assert len(passes.opened) == num_shards
        numbers.append(max(passes.opened))

    assert numbers[0] == numbers[1] > 0


def write_chats(folder: Path, number: int, texts) -> NewShard:
    """Two conversations that begin as one of every shard does."""
    chats = [
        Conversation((Turn(USER, prompt), Turn(ASSISTANT, texts.some((prompt, number), 40))))
        for prompt in ("Which river is the longest?", "Name a lake.")
    ]
    documents = [Document(chat.text, f"{number}", "chats", attributes=chat.attributes) for chat in chats]
    write_documents(documents, folder, number)
    rows = [{"keep": True, "quality": 0.0}] * len(documents)
    write_shard(pa.Table.from_pylist(rows), folder / "filtered", number)
    return NewShard(*(folder / kind / f"{number:05d}.parquet" for kind in ("documents", "filtered")))


class CountingPasses:
    """The passes of this process; `opened`: Parquet files and arrays that each task of one of them opened."""

    def __init__(self, passes: LocalPasses, counted: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._passes, self._counted, self._monkeypatch = passes, counted, monkeypatch
        self.opened: list[int] = []

    def folder(self, name: str) -> Path:
        return self._passes.folder(name)

    def run(self, name, tasks, unit, out=None):
        return self._passes.run(
            name, [self._watched(task) for task in tasks] if name == self._counted else tasks, unit, out
        )

    def discard(self, folder: Path) -> None:
        self._passes.discard(folder)

    def _watched(self, task):
        def run(folder: Path):
            paths: list[object] = []
            with self._monkeypatch.context() as patches:
                for module, name in ((np, "load"), (pq, "read_table"), (pq, "ParquetFile")):
                    patches.setattr(module, name, noting(getattr(module, name), paths))
                counts = task.run(folder)
            self.opened.append(len(paths))
            return counts

        return SimpleNamespace(run=run)


def noting(opens, paths: list[object]):
    def noted(path, *args, **options):
        paths.append(path)
        return opens(path, *args, **options)

    return noted
