"""Scores on clean items are the scores of an evaluation that never had the others."""

from collections.abc import Mapping
from dataclasses import replace

from pipelines.artifacts.evaluation import Score
from pipelines.evaluate.evaluation import scores
from pipelines.evaluate.statistics.enterprise import PARTS
from pipelines.evaluate.task import Item, Share, TaskResult, Verdict

TASKS = (*dict.fromkeys(task for task, _ in PARTS), "piqa")
"""The four enterprise tasks and one other."""
LEAKED = {("spider", "spider/2"): 1.0, ("spider", "spider/5"): 0.8, ("piqa", "piqa/0"): 0.7}


def result(task: str) -> TaskResult:
    measures = [measure for name, measure in PARTS if name == task] or ["acc"]
    items = [Item(f"{task}/{number}", (), "text", cluster="abc"[number % 3]) for number in range(8)]
    verdicts = [
        Verdict(
            {measure: Share(float((number + location) % 3 == 0), 1.0) for location, measure in enumerate(measures)},
            "",
            "",
        )
        for number in range(8)
    ]
    return TaskResult(task, measures[0], "", items, verdicts, [[] for _ in items])


def without(actual: TaskResult, item_ids: set[str]) -> TaskResult:
    remaining = [number for number, item in enumerate(actual.items) if item.item_id not in item_ids]
    return replace(actual, items=[actual.items[n] for n in remaining], verdicts=[actual.verdicts[n] for n in remaining])


def clean(actual: Mapping[str, Score]) -> dict[str, Score]:
    return {name.removesuffix("/clean"): score for name, score in actual.items() if name.endswith("/clean")}


RESULTS = [result(task) for task in TASKS]


def test_clean_scores_are_those_of_the_clean_items_alone_where_there_are_others() -> None:
    leaked = {item_id for _, item_id in LEAKED}
    alone = scores([without(outcome, leaked) for outcome in RESULTS], {})
    actual = clean(scores(RESULTS, LEAKED))
    assert actual == {
        name: alone[name] for name in ("spider/execution_accuracy", "piqa/acc", "enterprise_intelligence")
    }


def test_what_is_measured_on_all_items_does_not_change() -> None:
    actual = scores(RESULTS, LEAKED)
    assert {name: score for name, score in actual.items() if not name.endswith("/clean")} == scores(RESULTS, {})


def test_of_a_task_without_a_clean_item_there_is_no_clean_score_and_no_clean_mean() -> None:
    every = {("spider", f"spider/{number}"): 1.0 for number in range(8)}
    assert clean(scores(RESULTS, every)) == {}
