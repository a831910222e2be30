"""Answers to all requests of a suite: in batches, on any number of actors, each batch recorded when it is finished."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import torch

from infra.context import StageContext
from infra.groups.group import ALONE, Member
from infra.stage import digest
from infra.store.journal import Journal
from pipelines.evaluate.engine.decoding import TextGenerator
from pipelines.evaluate.engine.execution import ONE_ACTOR, Execution
from pipelines.evaluate.engine.likelihood import LikelihoodScorer
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, LogLikelihood, Request, Text, as_plain
from pipelines.models.loading import load_model
from pipelines.models.sharing import expert_group
from pipelines.models.source import ModelSource
from pipelines.models.text_model import TextModel

CHARACTERS_PER_TOKEN = 4
"""For sizes of batches only."""
Unit = tuple[LogLikelihood, ...] | tuple[Generation]
"""The smallest unit of computation: the log-likelihoods of one question, or one generation."""


def answer(
    questions: Sequence[Sequence[Request]],
    source: ModelSource,
    journal: Journal,
    context: StageContext,
    execution: Execution = ONE_ACTOR,
    seconds: MutableMapping[Request, float] | None = None,
) -> list[list[Answer]]:
    """The answers to the requests of every question, in order.

    Equal questions are answered once; `seconds` gets the time that the passes of each took, under the first of its
    requests. Answers of this model in `journal` are not computed again, even if `execution` was different. Raises
    ValueError naming a request that cannot be answered.
    """
    model_digest = source.digest()
    batched = is_batched(source, execution)
    keys = {unit: _key(model_digest, batched, unit) for question in questions for unit in units(question)}
    todo = [unit for unit, key in keys.items() if key not in journal]
    num_done, total = len(keys) - len(todo), len(keys)
    context.progress(num_done, total, "answers")
    batches = list(plan(todo, execution.tokens_per_batch, batched=batched))
    answers = execution.map(partial(Worker, source, batched), batches, context)
    for index, timed_units in answers:
        new: dict[str, Any] = {}
        for unit, (values, unit_s) in zip(batches[index], timed_units, strict=True):
            new |= {keys[unit]: values, _seconds_key(keys[unit]): unit_s}
        journal.add(new)
        num_done += len(new) // 2
        context.progress(num_done, total, "answers")
    if seconds is not None:
        # A journal of an older version has none.
        timed = {unit[0]: _seconds_key(key) for unit, key in keys.items()}
        seconds.update({request: journal[key] for request, key in timed.items() if key in journal})
    return [_assemble(question, keys, journal) for question in questions]


class Worker:
    """Holds a copy of the model, or as `member` of a group a part of it, and answers batches of units with plain data.
    Several threads may call it at a time, each with caches of its own."""

    def __init__(self, source: ModelSource, batched: bool, member: Member = ALONE) -> None:
        # Sums split over another number of threads would differ in the last digits.
        torch.set_num_threads(1)
        self._batched = batched
        self._engines = _Engines(load_model(source, group=expert_group(member, source.device)), batched)

    def __call__(self, batch: Sequence[Unit]) -> list[tuple[list[list[Any]], float]]:
        """For each unit the answers to its requests, each as the list of its fields, and its seconds. Units that share
        passes share the time of these by their tokens."""
        scored = iter(
            self._timed(self._engines.scorer.score, [unit for unit in batch if isinstance(unit[0], LogLikelihood)])
        )
        written = iter(self._timed(self._write, [unit for unit in batch if isinstance(unit[0], Generation)]))
        answers = [next(scored if isinstance(unit[0], LogLikelihood) else written) for unit in batch]
        return [([list(value) for value in values], seconds) for values, seconds in answers]

    def _write(self, batch: Sequence[Any]) -> list[list[Text]]:
        return [[text] for text in self._engines.writer.write([unit[0] for unit in batch])]

    def _timed(self, work: Callable[[Any], list[Any]], batch: Sequence[Unit]) -> Iterator[tuple[list[Any], float]]:
        for part in [batch] if self._batched else [[unit] for unit in batch]:
            began_s = time.perf_counter()
            results = work(part)
            second_per_token = (time.perf_counter() - began_s) / max(1, sum(map(_tokens, part)))
            yield from zip(results, [second_per_token * _tokens(unit) for unit in part], strict=True)


class _Engines(threading.local):
    """A scorer and a writer of the model for each thread, made when the thread first uses them."""

    def __init__(self, model: TextModel, batched: bool) -> None:
        self.scorer = LikelihoodScorer(model, batched=batched)
        self.writer = TextGenerator(model, batched=batched)


def units(question: Sequence[Request]) -> Iterator[Unit]:
    """The units of a question: its log-likelihoods together, and each generation."""
    scored = tuple(request for request in question if isinstance(request, LogLikelihood))
    if scored:
        yield scored
    for request in question:
        if isinstance(request, Generation):
            yield (request,)


def plan(todo: Sequence[Unit], tokens_per_batch: int, *, batched: bool) -> Iterator[list[Unit]]:
    """Batches of units of one kind: generations first, since they take longest.

    Units with separate passes are sorted by their text, so that their common prefix is still in the cache; units that
    share a pass are sorted by length, longest first, so that there is little padding.
    """
    order = _by_length if batched else _by_text
    for _, same in groupby(sorted(todo, key=order), key=lambda unit: isinstance(unit[0], Generation)):
        batch: list[Unit] = []
        size = 0
        for unit in same:
            if batch and size + _tokens(unit) > tokens_per_batch:
                yield batch
                batch, size = [], 0
            batch.append(unit)
            size += _tokens(unit)
        yield batch


def is_batched(source: ModelSource, execution: Execution) -> bool:
    """Whether several questions share a pass."""
    return torch.device(source.device).type != "cpu" if execution.batched is None else execution.batched


def _key(model_digest: str, batched: bool, unit: Unit) -> str:
    plain: dict[str, object] = {"model": model_digest, "requests": [as_plain(request) for request in unit]}
    return digest(plain | ({"batched": True} if batched else {}))


def _seconds_key(key: str) -> str:
    return f"seconds/{key}"


def _by_text(unit: Unit) -> tuple[Any, ...]:
    first = unit[0]
    if isinstance(first, Generation):
        return 0, first.shown, first.sample, repr(first)
    return 1, first.context, first.continuation, repr(unit)


def _by_length(unit: Unit) -> tuple[Any, ...]:
    return not isinstance(unit[0], Generation), -_tokens(unit), *_by_text(unit)[1:]


def _tokens(unit: Unit) -> int:
    """About how many ids pass through the model for this unit."""
    first = unit[0]
    if isinstance(first, Generation):
        return len(first.shown) // CHARACTERS_PER_TOKEN + first.max_new_tokens
    longest = max(len(request.context) for request in unit if isinstance(request, LogLikelihood))
    rest = sum(len(request.continuation) for request in unit if isinstance(request, LogLikelihood))
    return (longest + rest) // CHARACTERS_PER_TOKEN + 1


def _assemble(question: Sequence[Request], keys: Mapping[Unit, str], journal: Journal) -> list[Answer]:
    """The answers of a question's units, in the order of its requests."""
    recorded = {unit: iter(journal[keys[unit]]) for unit in units(question)}
    scored = next((values for unit, values in recorded.items() if isinstance(unit[0], LogLikelihood)), iter(()))
    answers: list[Answer] = []
    for request in question:
        if isinstance(request, LogLikelihood):
            answers.append(Likelihood(*next(scored)))
        else:
            answers.append(Text(*journal[keys[(request,)]][0]))
    return answers
