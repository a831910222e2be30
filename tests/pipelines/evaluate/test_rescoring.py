"""Stored answers are judged again only for the requests that they answered, and by default for all of these."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from infra.context import StageContext
from infra.store.journal import Journal
from pipelines.artifacts.evaluation import SAMPLES, SAMPLES_FILE, Scores
from pipelines.artifacts.formats.parquet import write_table
from pipelines.evaluate.asking.respondents import StoredRespondent
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, LogLikelihood, Request, Text
from pipelines.evaluate.evaluation import samples
from pipelines.evaluate.task import DataError, Item, TaskResult, Verdict
from pipelines.lineage.samples import _line

CHOICES = (LogLikelihood("Sam lost to", " Bo."), LogLikelihood("Bo lost to", " Bo."), LogLikelihood("", " Bo."))
DRAWS = tuple(Generation("def f():", ("\ndef",), 64, 0.8, sample, "plain") for sample in range(2))
ANSWERED: dict[str, tuple[Request, Answer]] = {
    **{f"choice {n}": (request, Likelihood(-1.5 - n, n == 0, n)) for n, request in enumerate(CHOICES)},
    **{f"draw {n}": (request, Text(f"    return {n}", "stop", 0, 4)) for n, request in enumerate(DRAWS)},
}


def item_of(*requests: Request) -> Item:
    return Item("1", requests, "a text")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An evaluation of two items: three choices, and two draws of one prompt."""
    requests, answers = zip(*ANSWERED.values(), strict=True)
    parts = {"choices": slice(3), "draws": slice(3, None)}
    results = [
        TaskResult(name, "acc", "how", [item_of(*requests[part])], [Verdict({}, "", "")], [answers[part]])
        for name, part in parts.items()
    ]
    (tmp_path / SAMPLES_FILE).parent.mkdir()
    write_table(pa.Table.from_pylist(samples(results, {}), SAMPLES), tmp_path / SAMPLES_FILE)
    Scores("toy", 0, 0, {}).write(tmp_path)
    return tmp_path


@pytest.fixture
def ask(folder: Path) -> Callable[..., list[Answer]]:
    def ask(task: str, *requests: Request) -> list[Answer]:
        context = StageContext("evaluate[toy]", folder, folder / "state", [].append)
        with Journal(folder / "journal") as journal:
            [answers] = StoredRespondent(folder).answer([(task, item_of(*requests))], journal, context)
        return answers

    return ask


def test_the_same_requests_have_the_stored_answers(ask: Callable[..., list[Answer]]) -> None:
    assert ask("choices", *CHOICES) == [answer for request, answer in ANSWERED.values() if request in CHOICES]
    assert ask("draws", *DRAWS) == [answer for request, answer in ANSWERED.values() if request in DRAWS]


OTHERS: dict[str, tuple[Request, ...]] = {
    "choices in another order": (CHOICES[0], CHOICES[2], CHOICES[1]),
    "one choice less": CHOICES[:2],
    "one choice more": (*CHOICES, CHOICES[0]),
    "another continuation": (*CHOICES[:2], replace(CHOICES[2], continuation=" Sam.")),
    "another context": (CHOICES[0], replace(CHOICES[1], context="Al lost to"), CHOICES[2]),
    "the prompt as context": (CHOICES[0], replace(CHOICES[1], context="Sam lost to"), CHOICES[2]),
    "a context instead of the prompt": (CHOICES[0], CHOICES[1], replace(CHOICES[2], context="Cy lost to")),
    "in a template": tuple(replace(choice, templated=True) for choice in CHOICES),
    "another prompt": tuple(replace(draw, prompt="def g():") for draw in DRAWS),
    "other stops": tuple(replace(draw, stops=("\nclass",)) for draw in DRAWS),
    "longer answers": tuple(replace(draw, max_new_tokens=128) for draw in DRAWS),
    "greedy answers": tuple(replace(draw, temperature=0.0) for draw in DRAWS),
    "other draws": tuple(replace(draw, sample=draw.sample + 1) for draw in DRAWS),
    "in the chat": tuple(replace(draw, form="message") for draw in DRAWS),
    "behind a system prompt": tuple(replace(draw, turns=(("system", "Be brief."),)) for draw in DRAWS),
    "with a begun answer": tuple(replace(draw, opening="The") for draw in DRAWS),
    "a text instead of choices": DRAWS,
}


@pytest.mark.parametrize("change", OTHERS)
@pytest.mark.parametrize("task", ["choices", "draws"])
def test_any_other_request_is_an_error_and_no_guess(task: str, change: str, ask: Callable[..., list[Answer]]) -> None:
    if task == "draws" and OTHERS[change] == DRAWS:
        return
    with pytest.raises(DataError, match=rf"has no answer to item 1 of {task} as it is asked now\. Ask the checkpoint"):
        ask(task, *OTHERS[change])


def test_conversations_have_the_stored_answers_and_are_shown_whole(folder: Path) -> None:
    turns = (("system", "Be brief."), ("user", "1 + 1?"), ("assistant", "2"))
    asked = Generation("2 + 2?", (), 8, form="message", turns=turns, opening="It is")
    result = TaskResult("sums", "acc", "how", [item_of(asked)], [Verdict({}, "", "")], [[Text(" 4", "end", 0, 1)]])
    rows = samples([result], {})
    write_table(pa.Table.from_pylist(rows, SAMPLES), folder / SAMPLES_FILE)
    with Journal(folder / "journal") as journal:
        context = StageContext("evaluate[toy]", folder, folder / "state", [].append)
        [answers] = StoredRespondent(folder).answer([("sums", item_of(asked))], journal, context)
    assert answers == [Text(" 4", "end", 0, 1)]
    shown = "system: Be brief.\n\nuser: 1 + 1?\n\nassistant: 2\n\nuser: 2 + 2?\n\nassistant: It is"
    assert rows[0]["prompt"] == shown


def test_choices_are_shown_behind_their_own_context() -> None:
    stored = samples(
        [
            TaskResult(
                "choices", "acc", "how", [item_of(*CHOICES)], [Verdict({}, "", "")], [[Likelihood(-1.0, False, 0)] * 3]
            )
        ],
        {},
    )
    assert [_line(response) for response in json.loads(stored[0]["responses"])] == [
        "(-1.000 nats) Bo.",
        "(-1.000 nats) Bo lost to | Bo.",
        "(-1.000 nats)  | Bo.",
    ]
