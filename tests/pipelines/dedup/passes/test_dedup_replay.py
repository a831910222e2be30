"""The same recipe gives the same bytes, for any order, batches, attempts, workers and deaths of workers."""

import itertools
import random
from importlib import import_module

import pytest

from data_recipes.schema import DedupSection, SemanticSection
from infra.context import StageContext
from pipelines.artifacts.documents import Document
from tests.kit.files import digests
from tests.kit.stages import committed


def corpus(texts, seed: int = 0, size: int = 25) -> list[Document]:
    """Originals with exact, near and remote copies."""
    result = []
    for n in range(size):
        base = texts.some((seed, n), 80)
        result += [base, base.title(), texts.edited(base, n, 1), texts.edited(base, (n, 1), 12)]
    return [Document(text, f"http://example.org/{n}", f"origin{n % 3}") for n, text in enumerate(result)]


def dealt(documents: list[Document], shards: int, seed: int) -> list[list[Document]]:
    order = list(documents)
    random.Random(seed).shuffle(order)
    return [order[start::shards] for start in range(shards)]


def test_decisions_are_the_same_however_documents_are_dealt_out(deduplicate, texts):
    documents = corpus(texts)
    reference = deduplicate([documents])
    for shards, seed in ((2, 1), (5, 2)):
        made = deduplicate(dealt(documents, shards, seed))
        assert made.decisions() == reference.decisions()
        assert (made.path / "clusters.parquet").read_bytes() == (reference.path / "clusters.parquet").read_bytes()


@pytest.mark.parametrize(
    ("portion", "batch", "rows", "partition", "group"), [(1, 1, 400, 1, 3_000), (2_000, 7, 1_000, 50, 30_000)]
)
def test_the_bytes_do_not_depend_on_the_size_of_batches(
    deduplicate, texts, monkeypatch, portion, batch, rows, partition, group
):
    shards = dealt(corpus(texts), 3, 0)
    reference = deduplicate(shards)
    monkeypatch.setattr("pipelines.dedup.minhash.PORTION_BYTES", portion)
    monkeypatch.setattr("pipelines.dedup.passes.signing.READ_BATCH_ROWS", batch)
    monkeypatch.setattr("pipelines.dedup.passes.buckets.ROWS_PER_RANGE", rows)
    monkeypatch.setattr("pipelines.dedup.passes.components.DOCUMENTS_PER_PARTITION", partition)
    monkeypatch.setattr("pipelines.dedup.passes.groups.GROUP_BYTES", group)
    made = deduplicate(shards)
    assert digests(made.path) == digests(reference.path)
    assert made.metrics == reference.metrics


@pytest.mark.parametrize(
    "section",
    [
        DedupSection(),
        DedupSection(min_passage_words=10, max_line_documents=1),
        DedupSection(first_prompts=True),
        DedupSection(semantic=SemanticSection(model="model"), min_passage_words=10),
    ],
)
def test_an_attempt_that_dies_anywhere_is_gone_on_with(
    deduplicate, texts, static_model, tmp_path, monkeypatch, section
):
    """The tenth part of all tasks is done in each attempt; the state of the previous one is reused."""
    shards = dealt(corpus(texts), 3, 0)
    reference = deduplicate(shards, section)
    done: list[str] = []

    def run_some(task, folder):
        if len(done) == limit:
            raise MemoryError("killed")
        done.append(repr(task))
        return task.run(folder)

    monkeypatch.setattr(import_module("pipelines.dedup.stage"), "run_task", run_some)
    state = tmp_path / "state"
    state.mkdir()
    inputs = dict.fromkeys(("source", "filter"), committed(reference.home))
    for attempt in itertools.count(1):
        out, limit = tmp_path / f"out-{attempt}", 3 * attempt
        out.mkdir()
        try:
            reference.dedup.work(StageContext("dedup[notes]", out, state, [].append), inputs)
            break
        except MemoryError:
            continue
    assert attempt > 3
    assert len(done) == len(set(done)), "no task that was finished is done again"
    assert digests(out) == digests(reference.path)
