"""A corpus on Ray, with any number of workers and workers killed at random: the same sha256 of every file."""

import os
import random
from pathlib import Path

import pytest

from data_recipes.schema import CorpusRecipe
from infra import fanout
from infra.context import StageContext
from infra.store import file_digest
from pipelines.graph import corpus_graph
from pipelines.source.web.warc.responses import write_responses
from tests.kit.servers.local_ray import local_ray
from tests.kit.stages import committed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TEXT = "the river of time and a town that has to be with its people when they have water at the bridge"
WORDS = TEXT.split(" ")
KILLED_SHARE = 0.3


@pytest.fixture
def crawl(tmp_path) -> Path:
    """Five WARC files of pages, some twice, some too short, some with an address."""
    draw = random.Random(3)
    texts = [" ".join(draw.choices(WORDS, k=draw.choice([8, 90, 150]))) for _ in range(60)]
    for number in range(5):
        pages = []
        for page in range(24):
            text = f"{draw.choice(texts)}. Write to jane{page % 3}@gmail.com."
            pages.append((f"http://{number}.example.org/{page}", f"<html><body><p>{text}</p></body></html>".encode()))
        write_responses(pages, tmp_path / f"{number}.warc.gz", "2024-01-01T00:00:00Z")
    return tmp_path


def killing(work, shard, folder, stop, commit, seed, tombs):
    """The shard as it is, in a worker that dies first for three in ten of them, before or after the work."""
    name = f"{folder.parent.parent.parent.name}-{folder.name}"
    draw = random.Random(f"{seed} {name}")
    if draw.random() < KILLED_SHARE and not (tombs / name).exists():
        (tombs / name).touch()
        if draw.random() < 0.5:
            scratch = folder.with_name(f".{folder.name}.torn")
            scratch.mkdir(exist_ok=True)
            work(shard, scratch)
        os._exit(9)
    return commit(work, shard, folder, stop)


def build(crawl: Path, home: Path, parallel: bool) -> dict[str, str]:
    """sha256 of every file of every stage."""
    inputs = [{"kind": "warc", "paths": [f"{number}.warc.gz" for number in range(5)]}]
    page = {"name": "web", "description": "", "source": {"inputs": inputs, "extractor": "all_text"}}
    page |= {"filter": {"min_words": 20, "min_stop_words": 0, "max_top_2gram_fraction": 1.0}}
    graph = corpus_graph(CorpusRecipe.model_validate(page), crawl / "web.toml")
    made = {}
    for stage in graph.stages.values():
        out, state = home / stage.name / "out", home / stage.name / "state"
        out.mkdir(parents=True)
        state.mkdir()
        stage.work(StageContext(stage.id, out, state, [].append, parallel), {name: made[name] for name in stage.inputs})
        made[stage.name] = committed(out)
    files = (file for file in sorted(home.rglob("out/**/*")) if file.is_file())
    return {str(file.relative_to(home)): file_digest(file) for file in files}


@pytest.mark.parametrize(("workers", "seed"), [(1, 1), (2, 2), (7, 3)])
def test_the_same_bytes_from_any_number_of_workers_that_die(crawl, tmp_path, monkeypatch, workers, seed):
    expected = build(crawl, tmp_path / "expected", parallel=False)
    assert len(expected) > 25
    tombs = tmp_path / "tombs"
    tombs.mkdir()
    commit = fanout._commit_shard

    def deadly(work, shard, folder, stop=None):
        return killing(work, shard, folder, stop, commit, seed, tombs)

    monkeypatch.setattr(fanout, "_commit_shard", deadly)
    with local_ray(num_cpus=workers):
        result = build(crawl, tmp_path / "found", parallel=True)
    assert len(list(tombs.iterdir())) >= 3
    assert result == expected
