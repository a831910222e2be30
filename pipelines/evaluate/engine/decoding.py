"""Text that a model writes after a prompt: greedy or drawn, up to a stop, the end token or so many ids."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from infra.stage import digest
from pipelines.evaluate.engine.encoding import Prompt, encode_prompt
from pipelines.evaluate.engine.models import KeyValueCache, LanguageModel, added_mask
from pipelines.evaluate.engine.prefix_cache import PrefixCache
from pipelines.evaluate.engine.requests import UNFINISHED, Generation, Text, as_plain

PENDING_IDS = 8
"""A character has four bytes, hence at most four ids; what is still none after twice as many never becomes one."""


@dataclass
class Answer:
    """One answer as it grows; `seed` names its draws."""

    request: Generation
    seed: str
    prompt: Prompt
    stops: "StopFinder"
    ids: list[int] = field(default_factory=list)
    finish: Literal["stop", "end", "length"] | None = None

    def choose(self, logits: torch.Tensor) -> int:
        return choose(logits, self.request.temperature, f"{self.seed}/{len(self.ids)}")

    def take(self, token: int, end_ids: frozenset[int]) -> None:
        if token in end_ids:
            self.finish = "end"
            return
        self.ids.append(token)
        if self.stops.push(token):
            self.finish = "stop"
        elif len(self.ids) >= self.prompt.max_new_tokens:
            self.finish = "length"


class TextGenerator:
    """Answers prompts on one model.

    Alone, a prompt's passes have shapes that follow from the prompt, so its answer is the same in any company. In
    `batched` mode prompts are written side by side: many times faster where a pass is mostly overhead, and the same but
    for rounding, which may decide between two ids that are equally probable.
    """

    def __init__(self, model: LanguageModel, *, batched: bool = False) -> None:
        self._model = model
        self._prefixes = PrefixCache(model)
        self._batched = batched and model.sees_masks

    @torch.inference_mode()
    def write(self, requests: Sequence[Generation]) -> list[Text]:
        """The answer to each request."""
        answers = [
            Answer(
                request,
                digest(as_plain(request)),
                encode_prompt(self._model, request),
                StopFinder(self._model.codec.decode, request.stops),
            )
            for request in requests
        ]
        for company in [answers] if self._batched and answers else [[answer] for answer in answers]:
            self._write_together(company)
        return [self._text(answer) for answer in answers]

    def _write_together(self, answers: Sequence[Answer]) -> None:
        cache, logits = self._read_alone(answers[0]) if len(answers) == 1 else self._read_together(answers)
        longest = max(len(answer.prompt.ids) for answer in answers)
        # Rows end together: a shorter prompt stands behind padding, which it never sees.
        padding = torch.tensor([longest - len(answer.prompt.ids) for answer in answers], device=logits.device)
        alive = list(answers)
        while True:
            tokens = [answer.choose(row) for row, answer in zip(logits, alive, strict=True)]
            for token, answer in zip(tokens, alive, strict=True):
                answer.take(token, self._model.codec.end_ids)
            going = [number for number, answer in enumerate(alive) if answer.finish is None]
            if not going:
                return
            if len(going) < len(alive):
                rows = torch.tensor(going, device=logits.device)
                cache.select(rows)
                padding, alive = padding[rows], [alive[number] for number in going]
            logits = self._step([tokens[number] for number in going], padding, cache)

    def _step(self, tokens: Sequence[int], padding: torch.Tensor, cache: KeyValueCache) -> torch.Tensor:
        ids = torch.tensor(tokens, device=padding.device)[:, None]
        visible = torch.arange(cache.length + 1, device=padding.device) >= padding[:, None]
        mask = added_mask(visible)[:, None, None]
        keep = torch.arange(len(tokens), device=padding.device)
        return self._model.logits(ids, (cache.length - padding)[:, None], mask, keep, cache)

    def _read_alone(self, answer: Answer) -> tuple[KeyValueCache, torch.Tensor]:
        ids = np.array(answer.prompt.ids, dtype=np.int64)
        start = self._prefixes.blocks(len(ids) - 1)
        cache = self._prefixes.read(ids[:start], len(ids) - start + answer.prompt.max_new_tokens)
        rest = torch.from_numpy(ids[start:]).to(self._model.device)[None]
        positions = torch.arange(start, len(ids), device=rest.device)[None]
        visible = torch.ones(rest.shape[1], len(ids), dtype=torch.bool, device=rest.device).tril(start)
        last = torch.tensor([rest.shape[1] - 1], device=rest.device)
        return cache, self._model.logits(rest, positions, added_mask(visible)[None, None], last, cache)

    def _read_together(self, answers: Sequence[Answer]) -> tuple[KeyValueCache, torch.Tensor]:
        longest = max(len(answer.prompt.ids) for answer in answers)
        ids = np.zeros((len(answers), longest), dtype=np.int64)
        for row, answer in zip(ids, answers, strict=True):
            row[longest - len(answer.prompt.ids) :] = answer.prompt.ids
        moved = torch.from_numpy(ids).to(self._model.device)
        padding = torch.tensor([longest - len(answer.prompt.ids) for answer in answers], device=moved.device)[:, None]
        columns = torch.arange(longest, device=moved.device)
        behind = (columns >= padding)[:, None, :] & (columns[:, None] >= columns)
        # Padding sees itself, so that no row is without a key.
        visible = behind | torch.eye(longest, dtype=torch.bool, device=moved.device)
        keep = torch.arange(1, len(answers) + 1, device=moved.device) * longest - 1
        cache = self._model.new_cache(len(answers), longest + max(answer.prompt.max_new_tokens for answer in answers))
        positions = (columns - padding).clamp(min=0)
        return cache, self._model.logits(moved, positions, added_mask(visible)[:, None], keep, cache)

    def _text(self, answer: Answer) -> Text:
        assert answer.finish is not None
        text = self._model.codec.decode(answer.ids)
        end = first_stop(text, answer.request.stops)
        cut = text if end is None else text[:end]
        return Text(cut, answer.finish if end is None else "stop", answer.prompt.num_truncated)


def choose(logits: torch.Tensor, temperature: float, seed: str) -> int:
    """The id that follows: the most probable at temperature 0, else the one that the draw named `seed` falls on.

    Raises ValueError if the logits are no numbers.
    """
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("the model's logits are not finite: its weights have diverged. Use an earlier checkpoint.")
    if temperature == 0:
        return int(logits.argmax())
    probabilities = (logits.double().cpu() / temperature).softmax(-1).cumsum(-1)
    share = (int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") >> 11) / 2**53
    return min(int(torch.searchsorted(probabilities, share * probabilities[-1], right=True)), len(logits) - 1)


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of `stops` begins."""
    return min((index for stop in stops if (index := text.find(stop)) >= 0), default=None)


class StopFinder:
    """Tells when a stop stands in the text of ids that come one by one, looking at the newest ones only."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._decode = decode
        self._stops = stops
        self._ids: list[int] = []
        # Text of ids before `_read` is known. It is decoded again from `_start`, since how an id reads may depend on
        # the one before it.
        self._start = self._read = 0
        self._tail = ""

    def push(self, token: int) -> bool:
        self._ids.append(token)
        before = self._decode(self._ids[self._start : self._read])
        now = self._decode(self._ids[self._start :])
        new = now[len(before) :]
        if new.endswith(UNFINISHED) and len(self._ids) - self._read < PENDING_IDS:
            return first_stop(self._tail + new, self._stops) is not None and self._is_certain()
        self._start, self._read = self._read, len(self._ids)
        is_stopped = first_stop(self._tail + new, self._stops) is not None
        longest = max((len(stop) for stop in self._stops), default=1)
        self._tail = (self._tail + new)[-longest:]
        return is_stopped and self._is_certain()

    def _is_certain(self) -> bool:
        return first_stop(self._decode(self._ids), self._stops) is not None
