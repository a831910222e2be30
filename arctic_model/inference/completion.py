"""Requests to the engine, and their growing answers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.inference.sampling import GREEDY, GenerationError, Sampling, choose, require_finite
from arctic_model.inference.text_stream import TextStream

Finish = Literal["stop", "end", "length", "cancelled", "failed"]
"""The text contains a stop, the model wrote an end id, there are `max_new_tokens`, the request was cancelled, or its
logits are not finite."""


@dataclass(frozen=True)
class Request:
    """A prompt and how to go on from it.

    Args:
        prompt: ids, at least one.
        max_new_tokens: limit of the answer.
        sampling: how each id is chosen.
        stops: texts that end the answer; it is cut before the first.
        num_logprobs: of each new id, also the log-probabilities of this many likeliest ids; None for none at all.
        scores_prompt: whether the ids of the prompt get log-probabilities too. They are then read again.

    Raises:
        GenerationError: if the prompt or a stop is empty, or a number is out of its range.
    """

    prompt: Sequence[int]
    max_new_tokens: int
    sampling: Sampling = GREEDY
    stops: tuple[str, ...] = ()
    num_logprobs: int | None = None
    scores_prompt: bool = False

    def __post_init__(self) -> None:
        if not self.prompt:
            raise GenerationError("prompt: holds no token. Start with the id of the end token, as training does.")
        if self.max_new_tokens < 0:
            raise GenerationError(f"max_new_tokens = {self.max_new_tokens}: must be 0 or more. Change the value.")
        if "" in self.stops:
            raise GenerationError(f"stops = {list(self.stops)}: a stop is empty. Leave it out.")


class TokenLogprobs(NamedTuple):
    """Natural log-probability of an id under the model, and `top`: those of the likeliest ids, by id."""

    token: int
    logprob: float
    top: dict[int, float]


@dataclass
class Completion:
    """The answer to one request. The engine adds to it with every step.

    Attributes:
        ids: new ids, without the end id.
        end_id: the end id that ended it, if one did.
        finish: why it ended; None while it grows.
        logprobs: of each new id, the end id included, if the request asks for them.
        prompt_logprobs: of the prompt's ids but the first, if the request asks for them.
        num_shared: ids of the prompt that were not read again.
        error: why it failed, if it did.
    """

    request: Request
    text: TextStream
    ids: list[int] = field(default_factory=list)
    end_id: int | None = None
    finish: Finish | None = None
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list)
    num_shared: int = 0
    error: GenerationError | None = None

    @staticmethod
    def of(request: Request, decode: Callable[[Sequence[int]], str]) -> "Completion":
        """The empty answer."""
        completion = Completion(request, TextStream(decode, request.stops))
        if request.max_new_tokens == 0 and not request.scores_prompt:
            completion.finish = "length"
        return completion

    def extend(self, logits: Float[Tensor, " V"], end_ids: frozenset[int]) -> None:
        """Choose the next id from its logits, and end if it ends the answer. Raises GenerationError if they are not
        finite."""
        if self.request.max_new_tokens == 0:
            self.finish = "length"
            return
        token = choose(logits, self.request.sampling, len(self.ids))
        if self.request.num_logprobs is not None:
            self.logprobs += token_logprobs(logits[None], [token], self.request.num_logprobs)
        if token in end_ids:
            self.end_id, self.finish = token, "end"
            return
        self.ids.append(token)
        if self.text.push(token):
            self.finish = "stop"
        elif len(self.ids) >= self.request.max_new_tokens:
            self.finish = "length"

    def score_prompt(self, logits: Float[Tensor, "T V"], start: int) -> None:
        """Take the log-probabilities of the ids that follow those from `start` on. Raises GenerationError if the
        logits are not finite."""
        require_finite(logits)
        targets = self.request.prompt[start + 1 : start + 1 + len(logits)]
        self.prompt_logprobs += token_logprobs(logits[: len(targets)], targets, self.request.num_logprobs or 0)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Inside, a GenerationError ends this answer and no other."""
        try:
            yield
        except GenerationError as error:
            self.error, self.finish = error, "failed"


def token_logprobs(logits: Float[Tensor, "T V"], targets: Sequence[int], num_top: int) -> list[TokenLogprobs]:
    """Of each target under its row, with those of the `num_top` likeliest ids."""
    logprobs = logits.log_softmax(-1).cpu()
    top = logprobs.topk(min(num_top, logprobs.shape[-1]), dim=-1)
    chosen = logprobs[torch.arange(len(targets)), torch.tensor(targets, dtype=torch.long)].tolist()
    rows = zip(targets, chosen, top.indices.tolist(), top.values.tolist(), strict=True)
    return [TokenLogprobs(token, value, dict(zip(ids, values, strict=True))) for token, value, ids, values in rows]
