"""Tasks on one checkpoint: items to requests, answers to verdicts, verdicts to scores; a journal records every step."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

from infra.budget import stop_if_asked
from infra.context import StageContext
from infra.store.journal import Journal
from pipelines.artifacts.evaluation import Difference, Score
from pipelines.evaluate.engine.requests import SYSTEM, Answer, Generation, Request, fields_of
from pipelines.evaluate.notes import is_complete
from pipelines.evaluate.statistics.comparison import difference
from pipelines.evaluate.statistics.enterprise import (
    enterprise_bits_per_byte,
    enterprise_intelligence,
    enterprise_sets,
)
from pipelines.evaluate.statistics.intervals import by_cluster, score
from pipelines.evaluate.task import DataError, Item, Share, Task, TaskResult, Verdict, drawn

ITEMS_JUDGED_AT_ONCE = 32
"""The maximum number of verdicts that a kill can lose."""

Contamination = Mapping[tuple[str, str], float]
"""Largest share of an item that a training document holds, by task and item id; other items are not known to occur
there."""


def read_items(
    tasks: Sequence[Task], limit: int | None, max_new_tokens: int | None = None, system: str = ""
) -> tuple[list[tuple[Task, list[Item]]], dict[str, str]]:
    """Items of all tasks before anything is asked, at most `limit` of each, with answers of at most `max_new_tokens`
    and the prompt `system` before what is asked in the chat; and why a task has none."""
    items_by_task, skipped = [], {}
    for task in tasks:
        try:
            items = [shortened(item, max_new_tokens) for item in sample(task.items(), limit)]
            items_by_task.append((task, [instructed(item, system) for item in items]))
        except DataError as error:
            skipped[task.name] = str(error)
    return items_by_task, skipped


def sample(items: Sequence[Item], limit: int | None) -> list[Item]:
    """`limit` items drawn by the digest of their id, in their own order: the same for every checkpoint."""
    return [items[index] for index in sorted(drawn([item.item_id for item in items], limit))]


def shortened(item: Item, max_new_tokens: int | None) -> Item:
    """`item` with answers of at most `max_new_tokens`."""
    if max_new_tokens is None:
        return item
    return _changed(item, lambda one: replace(one, max_new_tokens=min(one.max_new_tokens, max_new_tokens)))


def instructed(item: Item, system: str) -> Item:
    """`item` with this system prompt before each of its messages, and before the task's own, as the harness joins
    them: with a delimiter unless there is space between them."""

    def with_prompt(request: Generation) -> Generation:
        if request.form != "message":
            return request
        turns = request.turns
        own = [text for role, text in turns[:1] if role == SYSTEM]
        is_apart = not own or system[-1].isspace() or own[0][:1].isspace()
        joined = ("" if is_apart else item.delimiter).join([system, *own])
        return replace(request, turns=((SYSTEM, joined), *turns[len(own) :]))

    return _changed(item, with_prompt) if system else item


def _changed(item: Item, change: Callable[[Generation], Generation]) -> Item:
    """`item` with a change of every text that it asks for."""
    requests = (change(one) if isinstance(one, Generation) else one for one in item.requests)
    return replace(item, requests=tuple(requests))


def evaluate(
    items_by_task: Sequence[tuple[Task, Sequence[Item]]],
    answers: Sequence[Sequence[Answer]],
    journal: Journal,
    context: StageContext,
) -> list[TaskResult]:
    """Judge the answers to all items, task by task.

    An item without all of its numbers is left out, and a task without another item has no result. Raises StoppedError
    between two records of the journal.
    """
    remaining = iter(answers)
    answered = [(task, *_complete(items, [next(remaining) for _ in items])) for task, items in items_by_task]
    grouped = [(task, items, task_answers) for task, items, task_answers in answered if items]
    total = sum(len(items) for _, items, _ in grouped)
    results: list[TaskResult] = []
    for task, items, task_answers in grouped:
        verdicts: list[Verdict] = []
        with getattr(task, "judging", nullcontext)():
            for start in range(0, len(items), ITEMS_JUDGED_AT_ONCE):
                part = slice(start, start + ITEMS_JUDGED_AT_ONCE)
                verdicts += _scored(task, items[part], task_answers[part], journal)
                num_judged = sum(len(done.items) for done in results) + len(verdicts)
                context.progress(num_judged, total, "items judged")
                stop_if_asked(context, total - num_judged)
        known = [_with_chance(*pair) for pair in zip(items, verdicts, strict=True)]
        results.append(TaskResult(task.name, task.headline, task.protocol, known, verdicts, task_answers))
    return results


def scores(results: Sequence[TaskResult], contamination: Contamination) -> dict[str, Score]:
    """Every measure as `<task>/<measure>`, and the two means over tasks, if their parts are complete. A headline and a
    mean have a second score `.../clean`: over the items that do not occur in the training corpora, if some do."""
    measures = _measures(results)
    clean = _measures([_without(result, contamination) for result in results])
    headlines = [f"{result.name}/{result.headline}" for result in results]
    means = [name for name in measures if "/" not in name]
    changed = [name for name in [*headlines, *means] if name in clean and clean[name] != measures[name]]
    return measures | {f"{name}/clean": clean[name] for name in changed}


def sets_of(results: Sequence[TaskResult]) -> dict[str, dict[str, str]]:
    """The tasks averaged in each enterprise intelligence, see `enterprise_sets`."""
    return enterprise_sets({result.name: result.form for result in results})


def samples(results: Sequence[TaskResult], contamination: Contamination) -> list[dict[str, Any]]:
    """Every item with prompt, answer and verdict, as rows of SAMPLES."""
    return [
        {
            "task": result.name,
            "item_id": item.item_id,
            "cluster": item.cluster,
            "prompt": item.prompt,
            "gold": item.gold_text,
            "answer": verdict.answer,
            "correct": share.part == share.whole if (share := verdict.shares.get(result.headline)) else None,
            "verdict": verdict.reason,
            "shares": json.dumps({name: list(share) for name, share in verdict.shares.items()}),
            "contamination": contamination.get((result.name, item.item_id)),
            "responses": json.dumps(
                [
                    asked(item, request) | answer._asdict()
                    for request, answer in zip(item.requests, answers, strict=True)
                ]
            ),
        }
        for result in results
        for item, verdict, answers in zip(result.items, result.verdicts, result.answers, strict=True)
    ]


def seconds_of(results: Sequence[TaskResult], seconds: Mapping[Request, float]) -> list[float]:
    """How long the answers to each row of `samples` took, from the seconds of the requests."""
    items = (item for result in results for item in result.items)
    return [round(sum(seconds.get(request, 0.0) for request in item.requests), 3) for item in items]


def asked(item: Item, request: Request) -> dict[str, Any]:
    """A request of an item as SAMPLES hold it beside the answer: its fields, without the item's own prompt."""
    own = ("prompt", item.prompt), ("context", item.prompt)
    return {name: value for name, value in fields_of(request).items() if (name, value) not in own}


def asked_otherwise(
    protocols_before: Mapping[str, str],
    protocols: Mapping[str, str],
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """The protocol of the previous checkpoint, by task, if it differs from the current one, so that scores cannot be
    compared: another protocol, or other prompts or gold answers of the same items (rows of SAMPLES)."""
    changed = {
        task: protocols_before[task] for task, now in protocols.items() if protocols_before.get(task, now) != now
    }
    questions = {(row["task"], row["item_id"]): (row["prompt"], row["gold"]) for row in before}
    for row in after:
        if questions.get((row["task"], row["item_id"]), (row["prompt"], row["gold"])) != (row["prompt"], row["gold"]):
            changed.setdefault(row["task"], f"other prompts or gold answers, such as of {row['item_id']}")
    return changed


def differences(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, Difference]:
    """How each measure changed between two checkpoints, over the items that both have, from their rows of SAMPLES."""
    earlier = {(row["task"], row["item_id"]): json.loads(row["shares"]) for row in before}
    pairs: dict[str, list[tuple[Share, Share, str]]] = {}
    for row in after:
        old = earlier.get((row["task"], row["item_id"]), {})
        for measure, share in json.loads(row["shares"]).items():
            if measure in old:
                pair = Share(*old[measure]), Share(*share), row["cluster"]
                pairs.setdefault(f"{row['task']}/{measure}", []).append(pair)
    return {name: difference(*zip(*value_pairs, strict=True)) for name, value_pairs in pairs.items()}


def _complete(items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> tuple[list[Item], list[Sequence[Answer]]]:
    pairs = [(item, answer) for item, answer in zip(items, answers, strict=True) if is_complete(answer)]
    return [item for item, _ in pairs], [answer for _, answer in pairs]


def _scored(task: Task, items: Sequence[Item], answers: Sequence[Sequence[Answer]], journal: Journal) -> list[Verdict]:
    content = [[item.item_id, *answers] for item, answers in zip(items, answers, strict=True)]
    key_content = json.dumps([task.protocol, content]).encode()
    key = f"verdicts/{task.name}/{hashlib.sha256(key_content).hexdigest()}"
    records = journal.remember(key, lambda: [asdict(verdict) for verdict in task.score(items, answers)])
    return [
        Verdict(**row | {"shares": {name: Share(*share) for name, share in row["shares"].items()}}) for row in records
    ]


def _with_chance(item: Item, verdict: Verdict) -> Item:
    return item if verdict.chance is None else replace(item, chance=verdict.chance)


def _measures(results: Sequence[TaskResult]) -> dict[str, Score]:
    by_name: dict[str, Score] = {}
    together: dict[tuple[str, str], list[Share]] = {}
    for result in results:
        for measure, shares in result.shares().items():
            together[result.name, measure] = by_cluster(shares, [item.cluster for item in result.items])
            pairs = [(item, share) for item, share in zip(result.items, shares, strict=True) if share.whole]
            by_name[f"{result.name}/{measure}"] = _score(pairs)
    means = {name: enterprise_intelligence(together, tasks) for name, tasks in sets_of(results).items()}
    means["enterprise_bits_per_byte"] = enterprise_bits_per_byte(together)
    return by_name | {name: mean for name, mean in means.items() if mean}


def _without(result: TaskResult, contamination: Contamination) -> TaskResult:
    pairs = zip(result.items, result.verdicts, strict=True)
    clean = [(item, verdict) for item, verdict in pairs if (result.name, item.item_id) not in contamination]
    return replace(result, items=[item for item, _ in clean], verdicts=[verdict for _, verdict in clean])


def _score(pairs: Sequence[tuple[Item, Share]]) -> Score:
    items, shares = zip(*pairs, strict=True)
    chance = sum(item.chance for item in items) / len(items) if all(share.whole == 1 for share in shares) else None
    return score(shares, [item.cluster for item in items], chance)
