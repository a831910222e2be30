"""Texts with hidden answers: of the requested length and depth, and scored by the hidden answer."""

import random
import re
from pathlib import Path

import pytest

from pipelines.evaluate.engine.requests import Text
from pipelines.evaluate.from_recipe import named_suite
from pipelines.evaluate.suites import LONG
from pipelines.evaluate.tasks.long_context.task import LongContext
from pipelines.evaluate.tasks.long_context.texts import COMMON_TIMES, KINDS, OTHER_TIMES, Puzzle


def puzzle(kind: str, length: int = 8192, depth: float = 0.5, seed: int = 0) -> Puzzle:
    return KINDS[kind](length, depth, random.Random(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1024, 8192, 65_536])
def test_a_text_has_its_length_and_is_the_same_for_everyone(kind: str, length: int) -> None:
    first, again, other = (puzzle(kind, length, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert length <= len(first.text.encode()) < length + 200


@pytest.mark.parametrize("kind", ["passkey", "multi_key", "variable_tracking"])
@pytest.mark.parametrize("depth", [0.0, 0.25, 0.5, 1.0])
def test_the_answer_stands_at_its_depth(kind: str, depth: float) -> None:
    hidden = puzzle(kind, 32_768, depth)
    assert hidden.text.find(hidden.answers[0]) / len(hidden.text) == pytest.approx(depth, abs=0.02)


def solve(text: str, question: str) -> str:
    """An independent reader: finds the sentence that the question is about."""
    if "pass key" in question:
        return re.search(r"pass key is (\d+)", text)[1]
    if "number of" in question:
        name = re.search(r"number of (\w+)\?", question)[1]
        return re.search(rf"number of {name} is (\d+)", text)[1]
    if "value of" in question:
        values = dict(re.findall(r"VAR (\w+) = (?:VAR )?(\w+)", text))
        value = re.search(r"VAR (\w+)\?", question)[1]
        while value in values:
            value = values[value]
        return value
    words = text.split()
    return " ".join(sorted(set(words), key=words.count)[-3:])


@pytest.mark.parametrize("kind", KINDS)
def test_who_reads_the_text_finds_the_answer_and_who_guesses_does_not(kind: str) -> None:
    task = LongContext(kind, (2048, 8192), (0.0, 0.5, 1.0), 2)
    items = task.items()
    prompts = [item.prompt.rsplit("\n", 1) for item in items]
    readers = [[Text(f" {solve(*prompt)}.", "stop", 0)] for prompt in prompts]
    right, wrong = task.score(items, readers), task.score(items, [[Text(" 12345", "stop", 0)]] * len(items))
    assert {verdict.reason for verdict in right} == {"correct"}
    assert {verdict.shares["accuracy"].part for verdict in wrong} == {0.0}
    assert len({item.item_id for item in items}) == len(items) == 12
    measures = {name for verdict in right for name in verdict.shares}
    assert measures >= {"accuracy", "accuracy/2048", "accuracy/8192/0.5"}
    assert len(measures) == 1 + 2 + 6


def test_common_words_stand_as_often_more_as_they_should() -> None:
    result = puzzle("common_words", 65_536)
    words = result.text.split()
    common = sum(map(words.count, result.answers)) / len(result.answers)
    others = {word for word in words if word not in result.answers}
    assert common / (sum(map(words.count, others)) / len(others)) == pytest.approx(COMMON_TIMES / OTHER_TIMES, rel=0.2)


def test_the_suite_asks_all_kinds_at_all_lengths() -> None:
    suite = named_suite(["long_context"], Path(), None)
    tasks = suite.build(chat=False)
    assert [task.name for task in tasks] == list(LONG)
    assert {f"long_{kind}" for kind in KINDS} == set(LONG)
    assert all(max(task.lengths) == 131_072 for task in tasks)
