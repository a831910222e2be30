"""The limits of what an annotation may spend, which requests that are under way cannot exceed either."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any, NamedTuple, NoReturn, Protocol

from arctic_errors import UserError
from pipelines.models.openai_client import ServerError

TEMPLATE_TOKENS = 256
"""Tokens that a chat template adds to the messages, at most: some have a system message of their own."""
_MILLION = 1e6


class AnnotateError(UserError, RuntimeError):
    """A model's answers are unusable, or a budget is spent. The message contains the progress and the remedy."""


class Limits(Protocol):
    """See `AnnotateSection`."""

    @property
    def name(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def max_requests(self) -> int | None: ...
    @property
    def max_tokens(self) -> int | None: ...
    @property
    def max_cost(self) -> float | None: ...
    @property
    def price_per_million_prompt_tokens(self) -> float: ...
    @property
    def price_per_million_answer_tokens(self) -> float: ...


class Usage(NamedTuple):
    """What requests take."""

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.prompt_tokens + self.answer_tokens

    def plus(self, other: "Usage") -> "Usage":
        """The sum of both."""
        return Usage(*(one + more for one, more in zip(self, other, strict=True)))


class Budget:
    """What was spent, and the limits of an annotation, which requests that are under way cannot exceed either."""

    def __init__(self, limits: Limits) -> None:
        self.spent = Usage()
        self._limits = limits
        self._under_way: list[Usage] = []
        self._changed = threading.Condition()

    def cost(self, usage: Usage) -> float:
        """USD at the annotation's prices."""
        prompts = usage.prompt_tokens * self._limits.price_per_million_prompt_tokens
        return (prompts + usage.answer_tokens * self._limits.price_per_million_answer_tokens) / _MILLION

    @contextmanager
    def reserved(self, most: Usage) -> Iterator[None]:
        """Inside, a request of at most `most` is under way. If it does not fit beside others, it waits until they have
        taken what they need. Raises AnnotateError if a limit leaves no room for it."""
        with self._changed:
            while self._exceeded(reduce(Usage.plus, [self.spent, *self._under_way, most])):
                if not self._under_way:
                    self._refuse(most)
                self._changed.wait()
            self._under_way.append(most)
        try:
            yield
        finally:
            with self._changed:
                self._under_way.remove(most)
                self._changed.notify_all()

    def spend(self, record: Mapping[str, Any]) -> None:
        """Count a request that was answered. Raises ServerError if a limit needs its tokens and the server does not
        report them."""
        if record["prompt_tokens"] is None and (self._limits.max_tokens or self._limits.max_cost):
            raise ServerError(
                f"{self._limits.server}: it reports no usage, so max_tokens and max_cost cannot be kept. "
                "Remove them and set max_requests."
            )
        with self._changed:
            self.spent = self.spent.plus(Usage(1, record["prompt_tokens"] or 0, record["answer_tokens"] or 0))

    def _exceeded(self, usage: Usage) -> str | None:
        """The first limit below `usage`."""
        limits = ((name, getattr(self._limits, name)) for name in ("max_requests", "max_tokens", "max_cost"))
        return next((name for name, limit in limits if limit is not None and self._used(name, usage) > limit), None)

    def _used(self, limit: str, usage: Usage) -> float:
        return {"max_requests": usage.requests, "max_tokens": usage.tokens, "max_cost": self.cost(usage)}[limit]

    def _refuse(self, most: Usage) -> NoReturn:
        name = self._exceeded(self.spent.plus(most))
        assert name
        raise AnnotateError(
            f"annotate.{self._limits.name}: {self._used(name, self.spent):,.6g} spent of {name} = "
            f"{getattr(self._limits, name):,}, and the next request may take {self._used(name, most):,.6g}. All "
            f"answers are kept: raise {name} and run again to go on, or lower fraction."
        )


def most_of(request: Mapping[str, Any]) -> Usage:
    """An upper bound: no tokenizer makes more tokens of a text than it has bytes."""
    num_bytes = len(json.dumps(request, ensure_ascii=False).encode())
    return Usage(1, num_bytes + TEMPLATE_TOKENS, request["max_tokens"])
