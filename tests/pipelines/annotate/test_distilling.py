"""Labels of a model become a classifier, which scores and filters pages that the model never sees."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_recipes import load_corpus
from infra.artifact import Artifact
from infra.runner import build
from infra.store import Store
from pipelines.graph import corpus_graph
from pipelines.score.quality.corpora import train_on_corpora
from tests.kit.servers.chat_server import chat_server

LIMITS = """
[filter]
min_words = 10
min_alpha_words_fraction = 0.0
"""
LABELLED = """
name = "web"
description = ""
[source]
inputs = [{{ kind = "jsonl", paths = ["web.jsonl"] }}]
[[annotate]]
name = "education"
server = "{url}"
model = "toy"
prompt = "Rate this: {{text}}"
fraction = 0.8
[annotate.answer]
score = {{ type = "integer", minimum = 0, maximum = 5 }}
"""
CRAWL = """
name = "crawl"
description = ""
[source]
inputs = [{ kind = "jsonl", paths = ["crawl.jsonl"] }]
[score]
quality_model = "education.safetensors"
"""
LESSON = "the river and stone of a valley have shaped how water moves over sand and is held by ice for long"
OFFER = "the casino and bonus of this page have a lucky prize that you win with coins and be rich for long"


def page(kind: str, number: int) -> str:
    """60 words of a kind, in an order of their own."""
    words = kind.split()
    words += random.Random(f"{kind} {number}").choices(words, k=60 - len(words))
    random.Random(number).shuffle(words)
    return " ".join(words)


def write_pages(path: Path, numbers: range) -> None:
    pages = [page(kind, number) for number in numbers for kind in (LESSON, OFFER)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in pages))


def run(page: str, name: str, folder: Path) -> dict[str, Artifact]:
    """Every stage of the recipe `page`, written to `folder`, by its name."""
    path, store = folder / f"{name}.toml", Store(folder / "store").open()
    path.write_text(page)
    made: dict[str, Artifact] = {}

    def make(stage: Any) -> Artifact:
        if stage.name not in made:
            made[stage.name] = build(stage, store, [].append, None, *map(make, stage.inputs.values()))
        return made[stage.name]

    for stage in corpus_graph(load_corpus(path), path).stages.values():
        make(stage)
    return made


def test_a_crawl_is_scored_and_filtered_by_the_labels_of_a_sample(tmp_path):
    write_pages(tmp_path / "web.jsonl", range(60))
    write_pages(tmp_path / "crawl.jsonl", range(1000, 1040))

    def rate(fields: dict[str, Any]) -> tuple[str, str]:
        return json.dumps({"score": 5 if "river" in fields["messages"][-1]["content"] else 0}), "stop"

    with chat_server(rate) as server:
        run(LABELLED.format(url=server.url) + LIMITS, "web", tmp_path)
        asked = server.num_requests
        store, out = Store(tmp_path / "store"), tmp_path / "education.safetensors"
        report = train_on_corpora(store, "web:education.score>=4", "web:education.score<=1", out, 1000)
        made = run(f"{CRAWL}{LIMITS}min_quality = 0.5\n", "crawl", tmp_path)
        # About 0.8 of 120 pages, and no page of the crawl.
        assert 70 < asked < 120 and server.num_requests == asked
    assert report.heldout_accuracy == 1.0

    (documents,), (scores,), (filtered,) = (
        [pq.read_table(file).to_pylist() for file in (made[stage].path / kind).glob("*")]
        for stage, kind in (("source", "documents"), ("score", "scores"), ("filter", "filtered"))
    )
    assert len(documents) == 80
    for document, score, decision in zip(documents, scores, filtered, strict=True):
        is_lesson = "river" in document["text"]
        assert score["quality"] > 0.9 if is_lesson else score["quality"] < 0.1
        assert (decision["keep"], decision["reason"]) == (is_lesson, "" if is_lesson else "quality")
        # Among duplicates the better page stays.
        assert decision["quality"] == score["quality"]
