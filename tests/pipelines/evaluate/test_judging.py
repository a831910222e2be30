"""Answers are judged in parts, each recorded: a request to stop costs none that is judged."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from infra.budget import StoppedError
from infra.context import STOP, StageContext
from infra.store.journal import Journal
from pipelines.evaluate.engine.requests import Answer, Generation, Text
from pipelines.evaluate.evaluation import ITEMS_JUDGED_AT_ONCE, evaluate
from pipelines.evaluate.task import Item, Share, Task, TaskResult, Verdict

NUM_ITEMS = 2 * ITEMS_JUDGED_AT_ONCE + 1
ANSWER: Answer = Text("4", "end", 0, 1)


@dataclass
class Sums:
    """A task that asks for a stop while it judges a part for the `stop_at`-th time."""

    name: str
    stop: Path
    stop_at: int = 0
    judged: list[str] = field(default_factory=list)
    num_parts: int = 0
    headline: str = "acc"
    protocol: str = "0-shot"
    files: tuple[str, ...] = ()
    runs: Literal["", "python", "sql"] = ""
    packages: tuple[str, ...] = ()
    opened: list[int] = field(default_factory=list)

    @contextmanager
    def judging(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.opened.append(self.num_parts)

    def items(self) -> list[Item]:
        return [Item(f"{self.name}/{number}", (Generation("2 + 2 =", (), 4),), "") for number in range(NUM_ITEMS)]

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        self.judged += [item.item_id for item in items]
        self.num_parts += 1
        if self.num_parts == self.stop_at:
            self.stop.write_text("--max-hours 1 is reached")
        return [
            Verdict({"acc": Share(1.0, 1.0)}, text.text, "correct") for (text,) in answers if isinstance(text, Text)
        ]


def judge(folder: Path, tasks: Sequence[Task]) -> list[TaskResult]:
    items = [(task, task.items()) for task in tasks]
    events: list[dict[str, Any]] = []
    with Journal(folder / "journal") as journal:
        context = StageContext("evaluate[toy]", folder, folder, events.append)
        return evaluate(items, [[ANSWER]] * sum(len(each) for _, each in items), journal, context)


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_judging_stops_behind_each_part_and_goes_on_there(stop_at: int, tmp_path: Path) -> None:
    first, second = Sums("first", tmp_path / STOP, stop_at), Sums("second", tmp_path / STOP)
    with pytest.raises(StoppedError, match="--max-hours 1 is reached"):
        judge(tmp_path, [first, second])
    assert (first.num_parts, second.num_parts) == (stop_at, 0)
    assert (first.opened, second.opened) == ([stop_at], []), "once around all parts, and closed by a stop"
    (tmp_path / STOP).unlink()
    results = judge(tmp_path, [first, second])
    assert [len(result.verdicts) for result in results] == [NUM_ITEMS, NUM_ITEMS]
    for task in (first, second):
        assert task.judged == [item.item_id for item in task.items()], "no item is judged twice"


def test_a_stop_while_the_last_part_is_judged_costs_nothing(tmp_path: Path) -> None:
    [result] = judge(tmp_path, [Sums("only", tmp_path / STOP, stop_at=3)])
    assert len(result.verdicts) == NUM_ITEMS
