"""Text that a model writes after a prompt: greedy or sampled, up to a stop, the end token or a maximum number of
ids."""

from collections.abc import Sequence
from typing import Literal

from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.engine import Engine
from arctic_model.inference.sampling import Sampling
from infra.stage import digest
from pipelines.evaluate.engine.encoding import Prompt, encode_prompt
from pipelines.evaluate.engine.execution import answers_at_once
from pipelines.evaluate.engine.requests import Generation, Text, as_plain
from pipelines.models.text_model import TextModel


class TextGenerator:
    """Answers prompts on one model.

    Alone, a prompt's passes have shapes that follow from the prompt, so its answer does not depend on other prompts. In
    `batched` mode prompts are decoded in one batch: many times faster if a pass is mostly overhead, and the same except
    for rounding, which may decide between two ids that are equally probable.
    """

    def __init__(self, model: TextModel, *, batched: bool = False) -> None:
        self._model, self._batched = model, batched
        self._engine: Engine | None = None

    def write(self, requests: Sequence[Generation]) -> list[Text]:
        """The answer to each request."""
        prompts = [encode_prompt(self._model, request) for request in requests]
        longest = max((len(prompt.ids) + prompt.max_new_tokens for prompt in prompts), default=1)
        completions = self._engine_for(longest).run([_request(*pair) for pair in zip(requests, prompts, strict=True)])
        return [_text(*pair) for pair in zip(completions, prompts, strict=True)]

    def _engine_for(self, num_ids: int) -> Engine:
        """An engine with room for sequences of so many ids. In slots for the longest that the model reads, fewer short
        ones would fit side by side."""
        most = self._model.max_positions
        capacity = min(most, 1 << (num_ids - 1).bit_length()) if self._batched else most
        if self._engine is None or self._engine.capacity != capacity:
            # Its cache is freed before the next one is made.
            self._engine = None
            codec, count = self._model.codec, answers_at_once(capacity) if self._batched else 1
            self._engine = Engine(
                self._model, decode=codec.decode, end_ids=codec.end_ids, max_batch=count, capacity=capacity
            )
        return self._engine


def _request(request: Generation, prompt: Prompt) -> Request:
    sampling = Sampling(request.temperature, seed=digest(as_plain(request)))
    return Request(prompt.ids, prompt.max_new_tokens, sampling, request.stops)


def _text(completion: Completion, prompt: Prompt) -> Text:
    finish: Literal["stop", "end", "length"] = (
        "stop" if completion.finish == "stop" else "end" if completion.finish == "end" else "length"
    )
    num_tokens = len(completion.ids) + (completion.end_id is not None)
    return Text(completion.text.text(), finish, prompt.num_truncated, num_tokens)
