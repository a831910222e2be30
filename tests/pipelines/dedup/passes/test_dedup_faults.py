"""On Ray, with any number of workers and workers killed at random: the same sha256 of every output."""

import hashlib
import os
import random
from pathlib import Path

import pytest

from data_recipes.schema import DedupSection, SemanticSection
from infra.context import StageContext
from pipelines.artifacts.documents import Document
from tests.kit.files import digests
from tests.kit.servers.local_ray import local_ray
from tests.kit.stages import committed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SECTION = DedupSection(
    ngram=3, num_bands=20, rows_per_band=3, jaccard_threshold=0.6, semantic=SemanticSection(model="model")
)
KILLED_SHARE = 0.3


@pytest.fixture
def shards(texts) -> list[list[Document]]:
    draw = random.Random(0)
    result = [texts.some(n, 60) for n in range(12)]
    for n in range(300):
        base = draw.choice(result)
        edits = [base.upper(), texts.edited(base, n, draw.randint(1, 5)), f"{base} and more", paraphrased(base, n)]
        result.append(draw.choice(edits))
    documents = [Document(text, f"http://example.org/{n}", "test") for n, text in enumerate(result)]
    draw.shuffle(documents)
    return [documents[start::5] for start in range(5)]


def paraphrased(text: str, number: int) -> str:
    """Other words in another order: no near duplicate, but one in meaning."""
    words = [f"{word}s" for word in text.split()]
    random.Random(number).shuffle(words)
    return " ".join(words)


def killing(task, folder, seed: int, tombs: Path):
    """The task as it is, in a worker that dies first for three in ten tasks, before or after the work."""
    from pipelines.dedup.stage import run_task

    name = hashlib.sha256(f"{seed} {folder.parent.parent.name} {folder.name.split('.')[1]}".encode()).hexdigest()
    draw = random.Random(name)
    if draw.random() < KILLED_SHARE and not (tombs / name).exists():
        (tombs / name).touch()
        if draw.random() < 0.5:
            task.run(folder)
        os._exit(9)
    return run_task(task, folder)


@pytest.mark.parametrize(("workers", "portion", "rows", "group", "seed"), [
    (1, 2**20, 2**23, 2**28, 1), (2, 3_000, 4_000, 150_000, 2), (7, 1, 2_000, 80_000, 3),
])  # fmt: skip
def test_the_same_bytes_from_any_number_of_workers_that_die(
    deduplicate, shards, static_model, tmp_path, monkeypatch, workers, portion, rows, group, seed
):
    from functools import partial
    from importlib import import_module

    expected = deduplicate(shards, SECTION)
    monkeypatch.setattr("pipelines.dedup.minhash.PORTION_BYTES", portion)
    monkeypatch.setattr("pipelines.dedup.passes.buckets.ROWS_PER_RANGE", rows)
    monkeypatch.setattr("pipelines.dedup.passes.components.DOCUMENTS_PER_PARTITION", rows // 50)
    monkeypatch.setattr("pipelines.dedup.passes.groups.GROUP_BYTES", group)
    monkeypatch.setattr("pipelines.dedup.semantic.vectors.BLOCK_ENTRIES", rows // 4)
    tombs = tmp_path / "tombs"
    for folder in (tombs, tmp_path / "out", tmp_path / "state"):
        folder.mkdir()
    monkeypatch.setattr(import_module("pipelines.dedup.stage"), "run_task", partial(killing, seed=seed, tombs=tombs))
    with local_ray(num_cpus=workers):
        context = StageContext("dedup[notes]", tmp_path / "out", tmp_path / "state", [].append, parallel=True)
        inputs = dict.fromkeys(("source", "filter"), committed(expected.home))
        metrics = expected.dedup.work(context, inputs)
    assert len(list(tombs.iterdir())) >= 2
    assert metrics["data/dropped_semantic_duplicate"] > 1
    assert digests(tmp_path / "out") == digests(expected.path)
    assert metrics == expected.metrics
