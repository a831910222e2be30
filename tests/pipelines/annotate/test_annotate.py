"""A model labels documents and writes new ones: each question is asked once, each answer is checked, and the same bytes
follow."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_recipes import load_corpus
from infra.artifact import Artifact
from infra.store import Store
from pipelines.annotate.budget import AnnotateError
from pipelines.artifacts.documents import Document
from pipelines.errors import NotInStoreError, OptionError
from pipelines.graph import corpus_graph
from pipelines.lineage.documents import describe, find_document
from pipelines.models.openai_client import ServerError
from pipelines.score.quality.corpora import train_on_corpora
from tests.kit.servers.chat_server import chat_server
from tests.pipelines.annotate.conftest import NUM_DOCUMENTS, answer, labels_of, number_in, run

NGRAMS = [*(f"top_{n}gram" for n in (2, 3, 4)), *(f"duplicate_{n}gram" for n in range(5, 11))]
REPEATS = "\n".join(f"max_{ngrams}_fraction = 1.0" for ngrams in NGRAMS)


def rows(artifact: Artifact, kind: str = "annotations") -> list[dict[str, Any]]:
    return [row for path in sorted((artifact.path / kind).glob("*")) for row in pq.read_table(path).to_pylist()]


def content(artifact: Artifact) -> dict[str, bytes]:
    """All files of a result but its manifest, which has the times."""
    files = (file for file in sorted(artifact.path.rglob("*")) if file.is_file() and file.name != "manifest.json")
    return {str(file.relative_to(artifact.path)): file.read_bytes() for file in files}


def test_every_document_gets_the_labels_of_its_own_answer(notes, server, tmp_path):
    made = run(notes(server), tmp_path / "store")["annotate[notes.topics]"]
    assert [row["labels"] for row in rows(made)] == [labels_of(number) for number in range(NUM_DOCUMENTS)]
    assert {row["problem"] for row in rows(made)} == {None}
    metrics = made.manifest.metrics
    assert (metrics["data/labelled"], metrics["data/requests_sent"]) == (NUM_DOCUMENTS, NUM_DOCUMENTS)
    assert (metrics["data/prompt_tokens"], metrics["data/answer_tokens"]) == (600, 300)
    sent = json.loads(next(iter(server.seen)))
    assert (sent["model"], sent["temperature"], sent["response_format"]["type"]) == ("toy", 0.0, "json_schema")
    assert sent["response_format"]["json_schema"]["schema"]["properties"]["topic"]["enum"] == ["even", "odd"]


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_the_bytes_depend_on_no_order_of_answers(notes, tmp_path, concurrency):
    def late(fields: dict[str, Any]) -> tuple[str, str]:
        time.sleep((number_in(fields) * 7 % 5) / 500)
        return answer(fields)

    with chat_server(answer) as even, chat_server(late) as uneven:
        first = run(notes(even, concurrency=1), tmp_path / "first")["annotate[notes.topics]"]
        second = run(notes(uneven, concurrency=concurrency), tmp_path / "second")["annotate[notes.topics]"]
        assert uneven.most_at_once <= concurrency
    assert content(first) == content(second) and first.manifest.key == second.manifest.key


def test_a_server_that_is_busy_and_stumbles_gives_the_same(notes, server, tmp_path):
    failures = {3: (429, {"Retry-After": "1"}), 4: (500, {}), 9: (503, {}), 10: (502, {}), 30: (408, {})}
    with chat_server(answer, fail=lambda number, _: failures.get(number)) as stumbling:
        made = run(notes(stumbling), tmp_path / "stumbling")["annotate[notes.topics]"]
        assert set(stumbling.seen.values()) == {1}
    assert content(made) == content(run(notes(server), tmp_path / "sound")["annotate[notes.topics]"])


def test_a_server_that_dies_costs_no_answer_twice(notes, server, tmp_path):
    with chat_server(answer, fail=lambda number, _: (500, {}) if number > 25 else None) as dying:
        with pytest.raises(ServerError, match=r"500 .* Mend the server"):
            run(notes(dying), tmp_path / "store")
        answered = len(dying.seen)
        assert answered == 25
        dying.fail = lambda number, fields: None
        made = run(notes(dying), tmp_path / "store")["annotate[notes.topics]"]
        assert set(dying.seen.values()) == {1} and len(dying.seen) == NUM_DOCUMENTS
    assert made.manifest.metrics["data/requests_sent"] == NUM_DOCUMENTS
    assert content(made) == content(run(notes(server), tmp_path / "sound")["annotate[notes.topics]"])


def test_a_larger_fraction_asks_only_about_the_new_documents(notes, server, tmp_path):
    part = run(notes(server, "fraction = 0.3"), tmp_path / "store")["annotate[notes.topics]"]
    asked = [number for number, row in enumerate(rows(part)) if row["labels"]]
    assert 5 < len(asked) < 35 and len(server.seen) == len(asked)
    assert all(row["requests"] == 0 and row["problem"] is None for row in rows(part) if not row["labels"])
    whole = run(notes(server), tmp_path / "store")["annotate[notes.topics]"]
    assert set(server.seen.values()) == {1} and len(server.seen) == NUM_DOCUMENTS
    assert whole.manifest.metrics["data/requests_sent"] == NUM_DOCUMENTS - len(asked)


BAD = {
    "no object": ("Sorry.", "stop", "no JSON object"),
    "no JSON": ("{score: 1}", "stop", "no JSON: "),
    "cut": ('{"score": 1, "top', "length", "cut off at max_answer_tokens = 512"),
    "missing": ('{"score": 1, "topic": "odd"}', "stop", "no value 'questions'"),
    "wrong type": ('{"score": "1", "topic": "odd", "questions": []}', "stop", "score: no integer, but str"),
    "boolean": ('{"score": true, "topic": "odd", "questions": []}', "stop", "score: no integer, but bool"),
    "fraction": ('{"score": 1.0, "topic": "odd", "questions": []}', "stop", "score: no integer, but float"),
    "too large": ('{"score": 10, "topic": "odd", "questions": []}', "stop", "score: 10 is more than 9"),
    "huge": (f'{{"score": {10**30}, "topic": "odd", "questions": []}}', "stop", "no number that can be stored"),
    "no choice": ('{"score": 1, "topic": "new", "questions": []}', "stop", "topic: 'new' is none of the choices"),
    "no list": ('{"score": 1, "topic": "odd", "questions": "a"}', "stop", "questions: no list, but str"),
    "null in list": ('{"score": 1, "topic": "odd", "questions": [null]}', "stop", "questions: no string, but null"),
    "half a character": ('{"score": 1, "topic": "odd", "questions": ["\\ud800"]}', "stop", "half a character"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_answer_that_does_not_fit_is_asked_for_again_and_then_explained(notes, tmp_path, kind):
    text, finish, problem = BAD[kind]

    def sometimes(fields: dict[str, Any]) -> tuple[str, str]:
        number = number_in(fields)
        is_bad = number in (7, 8) and (number == 8 or fields["seed"] == 0)
        return (text, finish) if is_bad else answer(fields)

    with chat_server(sometimes) as server:
        made = rows(run(notes(server), tmp_path / "store")["annotate[notes.topics]"])
    assert (made[7]["labels"], made[7]["requests"], made[7]["problem"]) == (labels_of(7), 2, None)
    assert (made[8]["labels"], made[8]["requests"]) == (None, 2) and problem in made[8]["problem"]


def test_an_answer_may_stand_between_other_words(notes, tmp_path):
    with chat_server(lambda fields: (f"Sure:\n```json\n{answer(fields)[0]}\n```\nDone {{}}", "stop")) as server:
        made = run(notes(server), tmp_path / "store")["annotate[notes.topics]"]
    assert made.manifest.metrics["data/labelled"] == NUM_DOCUMENTS


def test_a_request_that_is_refused_costs_its_document(notes, tmp_path):
    def refuse(number: int, fields: dict[str, Any]) -> tuple[int, dict[str, str]] | None:
        return (400, {}) if number_in(fields) == 5 else None

    with chat_server(answer, fail=refuse) as server:
        made = rows(run(notes(server), tmp_path / "store")["annotate[notes.topics]"])
    assert made[5]["problem"].startswith("the server refuses it: 400") and made[5]["requests"] == 1
    assert sum(row["labels"] is None for row in made) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_lets_nobody_in_ends_the_stage(notes, tmp_path, status):
    with chat_server(answer, fail=lambda *_: (status, {})) as server, pytest.raises(ServerError, match=str(status)):
        run(notes(server), tmp_path / "store")


def test_too_many_unusable_answers_end_the_stage(notes, tmp_path):
    with chat_server(lambda fields: ("no", "stop") if number_in(fields) < 20 else answer(fields)) as server:
        with pytest.raises(AnnotateError, match=r"20 of 60 documents \(33\.3%\) have no usable answer, .* Improve the"):
            run(notes(server), tmp_path / "store")
        made = run(notes(server, "max_unusable_fraction = 0.5"), tmp_path / "store")["annotate[notes.topics]"]
        assert made.manifest.metrics["data/unusable"] == 20 and set(server.seen.values()) == {1}


def test_text_with_braces_reaches_the_model_as_it_is(notes, server, tmp_path):
    graph = notes(server, 'system = "Answer in JSON."')
    texts = ["note 1 {url} {{text}} }{", "note 1 {url} {{text}} }{"]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    run(corpus_graph(load_corpus(tmp_path / "notes.toml"), tmp_path / "notes.toml"), tmp_path / "store")
    assert graph
    messages = sorted(json.loads(fields)["messages"][1]["content"] for fields in server.seen)
    assert messages == [f"Rate note 1 {{url}} {{{{text}}}} }}{{ of notes.jsonl#{number}" for number in (1, 2)]


def test_documents_of_equal_requests_are_asked_about_once(notes, server, tmp_path):
    graph = notes(server)
    page = (tmp_path / "notes.toml").read_text().replace(" of {url}", "")
    (tmp_path / "notes.toml").write_text(page)
    (tmp_path / "notes.jsonl").write_text((json.dumps({"text": "note 3 again"}) + "\n") * 20)
    made = run(corpus_graph(load_corpus(tmp_path / "notes.toml"), tmp_path / "notes.toml"), tmp_path / "store")
    assert graph and list(server.seen.values()) == [1]
    assert [row["labels"] for row in rows(made["annotate[notes.topics]"])] == [labels_of(3)] * 20


def test_labels_decide_in_the_filter(notes, tmp_path):
    def some(fields: dict[str, Any]) -> tuple[str, str]:
        return ("no", "stop") if number_in(fields) == 4 else answer(fields)

    limits = """labels = [
        { annotation = "topics", field = "score", minimum = 2, maximum = 8 },
        { annotation = "topics", field = "topic", allowed = ["even"], keep_unlabelled = false },
    ]"""
    with chat_server(some) as server:
        decided = rows(run(notes(server, limits=limits), tmp_path / "store")["filter[notes]"], "filtered")

    def expected(number: int) -> str:
        if number != 4 and not 2 <= number % 10 <= 8:
            return "topics.score"
        return "topics.topic" if number == 4 or number % 2 else ""

    assert [row["reason"] for row in decided] == [expected(number) for number in range(NUM_DOCUMENTS)]


def test_texts_of_answers_become_documents_of_another_corpus(notes, server, tmp_path):
    made = run(notes(server, 'documents = "questions"', derived=True), tmp_path / "store")
    documents = rows(made["source[questions]"], "documents")
    originals = {row["doc_id"]: row for row in rows(made["source[notes]"], "documents")}
    assert [row["text"] for row in documents] == [f"What is {number}?" for number in range(NUM_DOCUMENTS)]
    for row in documents:
        origin = json.loads(row["attributes"])
        assert originals[origin["document"]]["url"] == row["url"] and origin["model"] == "toy"
        assert row["split"] == originals[origin["document"]]["split"] and row["extractor"] == "model"
        plain = {name: value for name, value in row.items() if name != "doc_id"}
        assert Document(**plain).doc_id == row["doc_id"]
    assert made["annotate[notes.topics]"].manifest.metrics["data/made_documents"] == NUM_DOCUMENTS


def test_labels_train_a_classifier(notes, tmp_path):
    def words(number: int) -> str:
        return " ".join(random.Random(number).choices(["river", "stone"] if number % 2 else ["casino", "bonus"], k=40))

    with chat_server(answer) as server:
        notes(server, limits=REPEATS)
        path = tmp_path / "notes.toml"
        lines = [{"text": f"note {number} {words(number)}"} for number in range(NUM_DOCUMENTS)]
        (tmp_path / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        made = run(corpus_graph(load_corpus(path), path), tmp_path / "store", dedup=True)
    store, out = Store(tmp_path / "store"), tmp_path / "model.safetensors"
    report = train_on_corpora(store, "notes:topics.topic=odd", "notes:topics.topic=even", out, 1000)
    assert report.heldout_accuracy == 1.0 and min(report.num_good, report.num_bad) > 20
    assert train_on_corpora(store, "notes:topics.topic=odd", "notes:topics.topic=even", out, 15).num_good == 15
    doc_id = rows(made["annotate[notes.topics]"])[7]["doc_id"]
    artifacts = list(store.artifacts())
    (location,) = find_document(artifacts, doc_id)
    assert describe(location, doc_id, artifacts)["annotate.topics.score"] == 7
    for selection, mistake in (
        ("notes:topics.stars>=1", "no such label"),
        ("notes:topics.score>=high", "no such label"),
        ("notes:score", "no selection"),
    ):
        with pytest.raises(OptionError, match=f"{mistake}.* (Name|Give) "):
            train_on_corpora(store, selection, "notes", out, 1000)
    with pytest.raises(NotInStoreError, match=r"no annotate\[notes\.gone\] of these documents"):
        train_on_corpora(store, "notes:gone.score>=1", "notes", out, 1000)


def test_the_key_follows_the_question_and_not_the_place(notes, server, tmp_path):
    def key(fields: str = "", **changes: Any) -> str:
        return notes(server, fields, **changes).stages["annotate[notes.topics]"].key

    assert key() == key(concurrency=9) == key("max_requests = 5\ntimeout_s = 9.0\nmax_unusable_fraction = 0.9")
    changes = ("", "temperature = 0.5", 'system = "Be brief."', "seed = 1", 'documents = "questions"', "attempts = 3")
    assert len({key(change) for change in changes}) == len(changes)


WORKER = """
import sys
from pathlib import Path
from data_recipes import load_corpus
from infra.runner import build
from infra.store import Store
from pipelines.graph import corpus_graph

path, store, made = Path(sys.argv[1]), Store(Path(sys.argv[2])).open(), {}
graph = corpus_graph(load_corpus(path), path)
for stage in list(graph.stages.values())[:3]:
    made[stage.id] = build(stage, store, [].append, None, *(made[each.id] for each in stage.inputs.values()))
"""


def test_a_killed_stage_asks_for_no_answer_twice(notes, tmp_path, monkeypatch):
    def slow(fields: dict[str, Any]) -> tuple[str, str]:
        time.sleep(0.02)
        return answer(fields)

    monkeypatch.undo()
    with chat_server(slow) as server, chat_server(answer) as sound:
        notes(server, concurrency=1)
        command = [sys.executable, "-c", WORKER, str(tmp_path / "notes.toml"), str(tmp_path / "store")]
        for after in (5, 20, 41):
            process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
            while len(server.seen) < after and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        made = run(notes(server, concurrency=1), tmp_path / "store")["annotate[notes.topics]"]
        # The answer that was on its way when the process died was never received.
        assert sum(server.seen.values()) <= NUM_DOCUMENTS + 3
        assert content(made) == content(run(notes(sound), tmp_path / "sound")["annotate[notes.topics]"])
