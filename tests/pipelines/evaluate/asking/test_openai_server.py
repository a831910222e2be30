"""A model behind a server: every request in the protocol's words, every answer as the server gave it, once."""

import json
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.budget import StoppedError
from infra.context import STOP, StageContext
from infra.store.journal import Journal
from pipelines.evaluate import server_stage
from pipelines.evaluate.asking.openai_server import OpenAIServer, ServerRespondent
from pipelines.evaluate.engine.requests import Generation, Likelihood, LogLikelihood, Text
from pipelines.evaluate.suites import Suite
from pipelines.evaluate.task import Item
from pipelines.models import openai_client
from pipelines.models.openai_client import ServerError


def nats(character: str) -> float:
    """The server model's log-probability of a character: its code point decides."""
    return -(ord(character) % 7) - 0.5


class Handler(BaseHTTPRequestHandler):
    """A model of characters that continues every text by "yes. No!" and knows two log-probabilities a character."""

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self._send({"data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, fields, self.headers.get("Authorization")))
        if self.server.failures:
            self.send_error(self.server.failures.pop())
            return
        if fields.get("echo"):
            self._send({"choices": [{"text": fields["prompt"], "logprobs": self._logprobs(fields["prompt"])}]})
            return
        text, reason = "yes. No!"[: fields["max_tokens"]], "length" if fields["max_tokens"] < 8 else "stop"
        chat = self.path.endswith("chat/completions")
        self._send(
            {
                "choices": [{"finish_reason": reason, **({"message": {"content": text}} if chat else {"text": text})}],
                "usage": {"completion_tokens": len(text)},
            }
        )

    def _logprobs(self, prompt: str) -> dict[str, Any]:
        values = [None, *(nats(character) for character in prompt[1:])]
        top = [None, *({"a": value, "b": -1.0} for value in values[1:])]
        return {"text_offset": list(range(len(prompt))), "token_logprobs": values, "top_logprobs": top}

    def _send(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(openai_client.time, "sleep", lambda _: None)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.models, running.seen, running.failures = ["toy"], [], []
    running.url = f"http://127.0.0.1:{running.server_port}/v1"
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_text_a_message_and_a_likelihood_are_asked_in_the_words_of_the_protocol(server: Any) -> None:
    model = OpenAIServer.named(f"openai:{server.url}")
    assert model == OpenAIServer(server.url, "toy")
    assert model.ask(Generation("Is it?", (), 8)) == Text("yes. No!", "end", 0, 8)
    assert model.ask(Generation("Is it?", ("No",), 8, form="message")) == Text("yes. ", "stop", 0, 8)
    assert model.ask(Generation("Is it?", (), 3)) == Text("yes", "length", 0, 3)
    scored = model.ask(LogLikelihood("Is it? ", "no"))
    assert scored == Likelihood(sum(map(nats, " no")), False, 0, num_tokens=3), "the blank belongs to the continuation"
    assert model.ask(LogLikelihood("Is it?", chr(70))).is_greedy, "-0.5 is more than -1"
    paths = [path.removeprefix("/v1/") for path, _, _ in server.seen]
    assert paths == ["completions", "chat/completions", "completions", "completions", "completions"]
    assert server.seen[1][1]["messages"] == [{"role": "user", "content": "Is it?"}]
    assert server.seen[1][1]["stop"] == ["No"]
    assert all(fields["model"] == "toy" for _, fields, _ in server.seen)


def test_a_conversation_and_the_begin_of_its_answer_are_messages(server: Any) -> None:
    turns = (("system", "Be brief."), ("user", "Is he?"), ("assistant", "Yes."))
    asked = Generation("Is it?", (), 8, form="message", turns=turns)
    OpenAIServer(server.url, "toy").ask(asked)
    OpenAIServer(server.url, "toy").ask(replace(asked, opening="It"))
    (_, whole, _), (_, begun, _) = server.seen
    roles = ["system", "user", "assistant", "user"]
    assert whole["messages"] == [
        {"role": role, "content": text}
        for role, text in zip(roles, ("Be brief.", "Is he?", "Yes.", "Is it?"), strict=True)
    ]
    assert begun["messages"] == [*whole["messages"], {"role": "assistant", "content": "It"}]
    assert (begun["continue_final_message"], begun["add_generation_prompt"]) == (True, False)
    assert not {"continue_final_message", "add_generation_prompt"} & whole.keys()


def test_a_conversation_that_the_server_refuses_is_known_before_anything_else_is_asked(server: Any) -> None:
    respondent = ServerRespondent(OpenAIServer(server.url, "toy"))
    assert not respondent.refusal(("user",)) and not server.seen
    assert not respondent.refusal(("system", "user"))
    ((_, fields, _),) = server.seen
    assert [each["role"] for each in fields["messages"]] == ["system", "user"] and fields["max_tokens"] == 1
    server.failures = [400]
    reason = respondent.refusal(("system", "user"))
    assert re.search(
        r": it refuses turns of system, user \(400 .*\)\. Leave that out, or ask with --chat never", reason
    )


def test_a_likelihood_without_any_context_is_left_out(server: Any) -> None:
    """The protocol knows no log-probability of a first token."""
    scored = OpenAIServer(server.url, "toy").ask(LogLikelihood("", "no"))
    assert (scored.encoded, scored.log_probability) == ("not", -math.inf)


def test_a_busy_server_is_asked_again_and_a_refusal_is_told(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = OpenAIServer(server.url, "toy")
    server.failures = [503, 429]
    assert model.ask(Generation("Is it?", (), 8)).text == "yes. No!"
    server.failures = [401]
    with pytest.raises(ServerError, match=r"completions: 401 .* Mend the server, or set OPENAI_API_KEY"):
        model.ask(Generation("Is it?", (), 8))
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    model.ask(Generation("Is it?", (), 8))
    assert server.seen[-1][2] == "Bearer secret"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai:file:///etc/passwd", "not an address"),
        ("http://127.0.0.1:1/v1", "not an address"),
        ("openai:http://me:pass@127.0.0.1/v1", "not an address"),
        ("openai:http://127.0.0.1:1/v1", "no answer .* Start the server"),
    ],
)
def test_an_address_that_is_none_is_told(name: str, message: str, server: Any) -> None:
    with pytest.raises(ServerError, match=message):
        OpenAIServer.named(name)


def test_one_of_several_models_must_be_named(server: Any) -> None:
    server.models = ["large", "small"]
    with pytest.raises(ServerError, match=r"it has 2 models\. Name one of large, small"):
        OpenAIServer.named(f"openai:{server.url}")
    assert OpenAIServer.named(f"openai:{server.url}#small").model == "small"


def test_what_is_answered_is_not_asked_again_after_a_kill(server: Any, tmp_path: Path) -> None:
    asked = [
        ("toy", Item(str(n), (Generation(f"Is it {n}?", (), 8), LogLikelihood("Is it?", f" {n}")), ""))
        for n in range(5)
    ]
    context = StageContext("toy", tmp_path, tmp_path / "state", [].append)
    respondent = ServerRespondent(OpenAIServer(server.url, "toy"))
    server.failures = [400]
    with Journal(tmp_path / "journal") as journal, pytest.raises(ServerError):
        respondent.answer(asked, journal, context)
    with Journal(tmp_path / "journal") as journal:
        answers = respondent.answer(asked, journal, context)
    assert [text.text for text, _ in answers] == ["yes. No!"] * 5
    assert [value.log_probability for _, value in answers] == [sum(map(nats, f" {n}")) for n in range(5)]
    bodies = [json.dumps(fields, sort_keys=True) for _, fields, _ in server.seen]
    assert len(set(bodies)) == 10
    assert len(bodies) <= 11, "what was answered was not asked twice"


def test_no_request_is_sent_after_a_stop_and_the_next_run_sends_the_others_once(server: Any, tmp_path: Path) -> None:
    asked = [("toy", Item(str(n), (Generation(f"Is it {n}?", (), 8),), "")) for n in range(80)]

    def stop(event: Any) -> None:
        if event["done"] == 3:
            (tmp_path / STOP).write_text("--max-cost 5 is reached")

    context = StageContext("toy", tmp_path, tmp_path, stop)
    respondent = ServerRespondent(OpenAIServer(server.url, "toy"))
    with Journal(tmp_path / "journal") as journal:
        with pytest.raises(StoppedError, match="--max-cost 5 is reached"):
            respondent.answer(asked, journal, context)
        num_asked = len(server.seen)
        assert len(list(journal.values())) == num_asked < 80, "requests that are under way are paid for"
        with pytest.raises(StoppedError):
            respondent.answer(asked, journal, context)
        assert len(server.seen) == num_asked
        (tmp_path / STOP).unlink()
        answers = respondent.answer(asked, journal, context)
    assert [text.text for (text,) in answers] == ["yes. No!"] * 80
    assert len(server.seen) == 80


def test_the_stage_asks_the_server_and_the_protocol_names_the_template(server: Any, tmp_path: Path) -> None:
    pytest.importorskip("langdetect")
    stage = server_stage(server.url, "my/toy", Suite(("ifeval",), tmp_path, limit=2))
    assert stage.subject == "my-toy"
    assert stage.key != server_stage(server.url, "toy", Suite(("ifeval",), tmp_path, limit=2)).key
