"""The shape of a task: items with requests in, one verdict per item out. Tasks know no model, no batch and no actor."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from arctic_errors import UserError
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, Request


@dataclass(frozen=True)
class Item:
    """One question.

    `text`: the text that must not have been trained on; `gold`: data for the checker, none of which goes to the model;
    `gold_text`: the right answer for people to read; `cluster`: id that dependent items share (subject, article,
    database), "" if they are independent; `chance`: the accuracy of guessing; `place`: file of the data root and row in
    it from 0, by which the contamination findings of `score` are matched; `delimiter`: text between a user's system
    prompt and the task's own.
    """

    item_id: str
    requests: tuple[Request, ...]
    text: str
    gold: Any = None
    gold_text: str = ""
    cluster: str = ""
    chance: float = 0.0
    place: tuple[str, int] | None = None
    delimiter: str = "\n\n"

    @property
    def prompt(self) -> str:
        """The first prompt that the model reads, "" if nothing is asked."""
        if not self.requests:
            return ""
        first = self.requests[0]
        return first.shown if isinstance(first, Generation) else first.context

    @property
    def conversations(self) -> set[tuple[str, ...]]:
        """The roles, in order, of each conversation that is asked in the chat."""
        texts = (one for one in self.requests if isinstance(one, Generation) and one.form == "message")
        return {tuple(each["role"] for each in one.messages) for one in texts}


class Share(NamedTuple):
    """The addend of an item to a measure, which is the sum of `part` over the sum of `whole`: 1 of 1 for a right
    answer, bits of bytes for bits per byte, followed of given instructions."""

    part: float
    whole: float


@dataclass(frozen=True)
class Verdict:
    """`shares` by measure, such as "acc" and "gold_bits_per_byte"; the `answer` as judged; `reason`: "correct", or the
    error in a few words; `chance`: as of Item, if only judging shows it."""

    shares: Mapping[str, Share]
    answer: str
    reason: str
    chance: float | None = None


@dataclass(frozen=True)
class TaskResult:
    """The items of the task `name` with their verdicts and the `answers` to their requests, in the task's order.
    `headline` and `protocol` as in Task."""

    name: str
    headline: str
    protocol: str
    items: Sequence[Item]
    verdicts: Sequence[Verdict]
    answers: Sequence[Sequence[Answer]]

    @property
    def form(self) -> Literal["chat", "base"]:
        """Whether its answers were asked for in the chat template."""
        requests = (request for item in self.items for request in item.requests)
        return "chat" if any(isinstance(one, Generation) and one.form == "message" for one in requests) else "base"

    def shares(self) -> dict[str, list[Share]]:
        """The addends of each item, by measure; a whole of 0 if an item has no part in a measure."""
        measures = dict.fromkeys(name for verdict in self.verdicts for name in verdict.shares)
        nothing = Share(0.0, 0.0)
        return {name: [verdict.shares.get(name, nothing) for verdict in self.verdicts] for name in measures}


class Task(Protocol):
    """`name` as in a suite ("humaneval_plus"); `headline`: the headline measure of the task; `protocol`: shots, prompt
    and scoring in one line, shown with every score; `files`: those of the data root that it reads; `runs`: the language
    of answers that judging runs in the sandbox, "" if it runs none; `packages`: distributions of the extra `evaluate`
    that it needs. A task may also have a method `judging`, whose context manager is open around all calls of `score` of
    one evaluation."""

    @property
    def name(self) -> str: ...
    @property
    def headline(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def files(self) -> tuple[str, ...]: ...
    @property
    def runs(self) -> Literal["", "python", "sql"]: ...
    @property
    def packages(self) -> tuple[str, ...]: ...

    def items(self) -> list[Item]:
        """All items, in a fixed order. Raises DataError if a file is missing, altered or not as it should be."""

    def score(self, items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> list[Verdict]:
        """One verdict per item, from the answers to its requests in order."""


@dataclass(frozen=True)
class TaskOptions:
    """How a task is asked.

    `root`: folder of the evaluation data; `unsafe`: the user's consent if code may run without isolation, see
    `pipelines.sandbox`; `limit`: items that are asked at most, for a task whose other items cost time; `chat`: whether
    the model is asked in its chat template; `long_context_bytes`: sizes of long texts, empty for the task's own;
    `numpy`: whether programs may import numpy.
    """

    root: Path
    unsafe: str = ""
    limit: int | None = None
    chat: bool = False
    long_context_bytes: tuple[int, ...] = ()
    numpy: bool = False


Factory = Callable[[TaskOptions], Task]
"""Makes a built-in task. A module of `tasks` has a mapping TASKS of them by name (see `tasks.built_in`)."""


def form_of(chat: bool) -> Literal["plain", "message"]:
    """`form` of a Generation that is asked in the chat, or as text to continue."""
    return "message" if chat else "plain"


def way_of(chat: bool) -> str:
    """The same in words, for a protocol."""
    return "in the chat template" if chat else "without a chat template"


def drawn(names: Sequence[str], count: int | None) -> list[int]:
    """Indices of `count` of `names` (all, if it is None or there are fewer), in the order of the names' digests: the
    same for every checkpoint, and spread over the whole."""
    order = sorted(range(len(names)), key=lambda index: hashlib.sha256(names[index].encode()).digest())
    return order[:count]


def bits_of(answer: Answer, text: str) -> Share:
    """Bits that a model needs for `text`, of its UTF-8 bytes. Raises TypeError if `answer` is not a likelihood."""
    if not isinstance(answer, Likelihood):
        raise TypeError(f"{answer}: not the answer to a log-likelihood")
    return Share(-answer.log_probability / math.log(2), float(len(text.encode())))


class DataError(UserError):
    """Evaluation data cannot be used: the message names the file and the remedy."""
