"""A corpus of numbered notes and a server that labels them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data_recipes import load_corpus
from infra.artifact import Artifact
from infra.runner import build
from infra.store import Store
from pipelines.graph import Graph, corpus_graph
from pipelines.models import openai_client
from tests.kit.servers.chat_server import ChatServer, chat_server

NUM_DOCUMENTS = 60
RECIPE = """
name = "notes"
description = ""
[source]
inputs = [{{ kind = "jsonl", paths = ["notes.jsonl"] }}]
[[annotate]]
name = "topics"
server = "{url}"
model = "toy"
prompt = "Rate {{text}} of {{url}}"
num_concurrent_requests = {concurrency}
{fields}
[annotate.answer]
score = {{ type = "integer", minimum = 0, maximum = 9 }}
topic = {{ type = "string", choices = ["even", "odd"] }}
questions = {{ type = "strings" }}
[filter]
min_words = 1
min_stop_words = 0
min_alpha_words_fraction = 0.0
{limits}
"""
DERIVED = """
name = "questions"
description = ""
[source]
inputs = [{ kind = "annotated", corpus = "notes", annotation = "topics" }]
[filter]
min_words = 1
min_stop_words = 0
min_alpha_words_fraction = 0.0
"""


def labels_of(number: int) -> dict[str, Any]:
    return {"score": number % 10, "topic": "odd" if number % 2 else "even", "questions": [f"What is {number}?", " "]}


def number_in(fields: dict[str, Any]) -> int:
    return int(fields["messages"][-1]["content"].split()[2])


def answer(fields: dict[str, Any]) -> tuple[str, str]:
    return json.dumps(labels_of(number_in(fields))), "stop"


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client.time, "sleep", lambda _: None)


@pytest.fixture
def notes(tmp_path: Path) -> Callable[..., Graph]:
    """`notes(server, fields, limits)`: the graph of a corpus of documents "note N about it", annotated by a server."""
    lines = [{"text": f"note {number} about it"} for number in range(NUM_DOCUMENTS)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def notes(
        server: ChatServer, fields: str = "", limits: str = "", concurrency: int = 4, derived: bool = False
    ) -> Graph:
        page = RECIPE.format(url=server.url, fields=fields, limits=limits, concurrency=concurrency)
        (tmp_path / "notes.toml").write_text(page)
        (tmp_path / "questions.toml").write_text(DERIVED)
        path = tmp_path / ("questions.toml" if derived else "notes.toml")
        return corpus_graph(load_corpus(path), path)

    return notes


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(answer) as running:
        yield running


def run(graph: Graph, folder: Path, *, dedup: bool = False) -> dict[str, Artifact]:
    """Every stage up to the filter, or to the end, by id, in this process."""
    store, made = Store(folder).open(), {}

    def make(stage: Any) -> Artifact:
        if stage.id not in made:
            made[stage.id] = build(stage, store, [].append, None, *map(make, stage.inputs.values()))
        return made[stage.id]

    for stage in graph.stages.values():
        if dedup or stage.name != "dedup":
            make(stage)
    return made
