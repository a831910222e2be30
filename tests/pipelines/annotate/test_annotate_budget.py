"""The limits of an annotation hold whatever is under way, and are spent."""

import json
from itertools import count
from threading import Lock
from typing import Any

import pytest

from infra.budget import StoppedError
from infra.context import STOP
from infra.store import Store, write_durably
from pipelines.annotate.budget import AnnotateError
from pipelines.models.openai_client import ServerError
from tests.kit.servers.chat_server import chat_server
from tests.pipelines.annotate.conftest import NUM_DOCUMENTS, answer, run

PRICES = "price_per_million_prompt_tokens = 1000.0\nprice_per_million_answer_tokens = 2000.0\nmax_answer_tokens = 50"


def all_bytes_and_all_that_are_allowed(fields: dict[str, Any]) -> tuple[int, int]:
    """As many tokens as a request can take: a token for each byte, and a whole answer."""
    return len(json.dumps(fields).encode()), fields["max_tokens"]


@pytest.mark.parametrize("tokens", [lambda fields: (10, 5), all_bytes_and_all_that_are_allowed], ids=["few", "most"])
@pytest.mark.parametrize("limit", ["max_requests = 20", "max_tokens = 1600", "max_cost = 1.7"])
def test_a_budget_is_spent_and_never_exceeded_and_can_be_raised(notes, tmp_path, limit, tokens):
    """Whatever is under way: four requests at a time."""
    name, most = limit.split(" = ")
    with chat_server(answer, tokens=tokens) as server:
        with pytest.raises(
            AnnotateError, match=rf"annotate\.topics: .* spent of {name} = .* raise {name} and run again"
        ):
            run(notes(server, f"{PRICES}\n{limit}"), tmp_path / "store")
        taken = [tokens(json.loads(request)) for request in server.seen]
        prompts, answers = (sum(column) for column in zip(*taken, strict=True))
        spent = {"max_requests": len(taken), "max_tokens": prompts + answers}
        spent["max_cost"] = prompts / 1000 + answers / 500
        # A request of these documents takes 1,200 tokens at most, and 1.3 dollars.
        assert (
            float(most) - {"max_requests": 0, "max_tokens": 1200, "max_cost": 1.3}[name] <= spent[name] <= float(most)
        )
        made = run(notes(server, PRICES), tmp_path / "store")["annotate[notes.topics]"]
        assert set(server.seen.values()) == {1} and len(server.seen) == NUM_DOCUMENTS
    prompts, answers = (sum(column) for column in zip(*map(tokens, map(json.loads, server.seen)), strict=True))
    assert made.manifest.metrics["data/cost_usd"] == pytest.approx(prompts / 1000 + answers / 500)


def test_requests_wait_for_each_other_near_a_limit(notes, tmp_path):
    """All documents fit by what they take, and two by what they could take."""
    with chat_server(answer) as server:
        limit = "max_tokens = 3300"
        made = run(notes(server, f"{PRICES}\n{limit}"), tmp_path / "store")["annotate[notes.topics]"]
        assert made.manifest.metrics["data/labelled"] == NUM_DOCUMENTS
        assert server.most_at_once <= 3


@pytest.mark.parametrize("concurrency", [1, 7])
def test_no_request_is_sent_after_a_stop_and_the_next_run_sends_the_others_once(notes, server, tmp_path, concurrency):
    store = Store(tmp_path / "store")

    counting, answered = Lock(), count()

    def stopping(fields: dict[str, Any]) -> tuple[str, str]:
        # One after the other: no request is answered between the twentieth and the stop.
        with counting:
            if next(answered) == 20:
                (state,) = store.root.glob("stages/annotate/*.state")
                write_durably(state / STOP, "--max-cost 5 is reached")
            return answer(fields)

    with chat_server(stopping) as limited:
        with pytest.raises(StoppedError, match="--max-cost 5 is reached"):
            run(notes(limited, concurrency=concurrency), store.root)
        # Requests that are under way when the stop is asked for are paid for.
        assert 20 < len(limited.seen) <= 20 + concurrency
        limited.answer = answer
        made = run(notes(limited), store.root)["annotate[notes.topics]"]
        assert set(limited.seen.values()) == {1} and len(limited.seen) == NUM_DOCUMENTS
    expected = run(notes(server), tmp_path / "at-once")["annotate[notes.topics]"]
    assert made.manifest.digests() == expected.manifest.digests()


def test_a_budget_of_tokens_needs_a_server_that_counts_them(notes, tmp_path):
    with chat_server(answer, usage=False) as silent:
        with pytest.raises(ServerError, match=r"reports no usage.*set max_requests"):
            run(notes(silent, "max_tokens = 10_000"), tmp_path / "store")
        metrics = run(notes(silent), tmp_path / "store")["annotate[notes.topics]"].manifest.metrics
        assert "data/prompt_tokens" not in metrics and metrics["data/labelled"] == NUM_DOCUMENTS
