"""A model that vLLM computes in this process. Texts become ids as for every other model here; vLLM sees ids alone."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra.budget import stop_if_asked
from infra.context import StageContext
from infra.stage import digest
from infra.store.journal import Journal
from pipelines.evaluate.asking.chat import Chat, asked_in_chat, refusal
from pipelines.evaluate.asking.protocol import Training
from pipelines.evaluate.engine.encoding import encode_pair, encode_prompt, windows
from pipelines.evaluate.engine.requests import (
    Answer,
    Generation,
    Likelihood,
    LogLikelihood,
    Request,
    Text,
    answer_of,
    as_plain,
)
from pipelines.evaluate.task import Item
from pipelines.models.codec import TextCodec
from pipelines.models.loading import load_codec
from pipelines.models.source import ModelSource

PREFIX = "vllm:"
"""Before the folder, in the name of such a model."""
REQUESTS_AT_ONCE = 256
"""Requests that vLLM gets together, the most work that a kill loses."""
SCORED_TOKEN = 1
"""vLLM writes at least one token: the positions that a scored text leaves free."""


@dataclass(frozen=True)
class _Reader:
    """The part of a model that encodes a prompt."""

    codec: TextCodec
    max_positions: int


class VllmRespondent:
    """Asks vLLM, many requests at a time; a batch is recorded when all of it is answered."""

    training = Training(0, 0, 0)

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        self.seconds: dict[Request, float] = {}

    @property
    def engine(self) -> str:
        import vllm

        return f"vLLM {vllm.__version__}"

    @cached_property
    def template(self) -> str:
        return hashlib.sha256((load_codec(self._source).template or "").encode()).hexdigest()[:12]

    def asked_in_chat(self, chat: Chat) -> bool:
        return asked_in_chat(self._source, chat)

    def refusal(self, roles: Sequence[str]) -> str:
        return refusal(self._source, roles)

    def answer(self, asked: Sequence[tuple[str, Item]], journal: Journal, context: StageContext) -> list[list[Answer]]:
        """The answers to the requests of each item. Raises ValueError on a request that cannot be answered, and
        StoppedError between two batches."""
        model = self._source.digest()
        keys = {
            request: digest({"model": model, "engine": self.engine, "request": as_plain(request)})
            for _, item in asked
            for request in item.requests
        }
        waiting = [request for request, key in keys.items() if key not in journal]
        if waiting:
            asker = _Asker(self._source)
            num_done = len(keys) - len(waiting)
            for start in range(0, len(waiting), REQUESTS_AT_ONCE):
                requests = waiting[start : start + REQUESTS_AT_ONCE]
                began_s = time.perf_counter()
                answers = list(asker.ask(requests))
                each_s = (time.perf_counter() - began_s) / len(requests)
                self.seconds |= dict.fromkeys(requests, each_s)
                journal.add({keys[request]: each._asdict() for request, each in zip(requests, answers, strict=True)})
                num_done += len(requests)
                context.progress(num_done, len(keys), "answers")
                stop_if_asked(context, len(keys) - num_done)
        return [[answer_of(journal[keys[request]]) for request in item.requests] for _, item in asked]


class _Asker:
    """vLLM with the weights in memory."""

    def __init__(self, source: ModelSource) -> None:
        from vllm import LLM

        self._engine = LLM(str(source.checkpoint), tokenizer=str(source.tokenizer_folder), seed=0)
        positions = self._engine.llm_engine.model_config.max_model_len - SCORED_TOKEN
        self._reader = _Reader(load_codec(source), positions)

    def ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """The answers to all of `requests`, in order."""
        from vllm import TokensPrompt

        parts = [self._parts(request) for request in requests]
        flat = [part for each in parts for part in each]
        prompts = [TokensPrompt(prompt_token_ids=list(ids)) for ids, _ in flat]
        outputs = iter(self._engine.generate(prompts, [sampling for _, sampling in flat], use_tqdm=False))
        for request, own in zip(requests, parts, strict=True):
            found = [next(outputs) for _ in own]
            yield self._written(request, found[0]) if isinstance(request, Generation) else self._scored(request, found)

    def _parts(self, request: Request) -> list[tuple[Sequence[int], Any]]:
        """The ids that vLLM reads for a request, with how it goes on."""
        from vllm import SamplingParams

        if isinstance(request, Generation):
            prompt = encode_prompt(self._reader, request)
            sampling = SamplingParams(
                temperature=request.temperature,
                max_tokens=prompt.max_new_tokens,
                stop=list(request.stops) or None,
                seed=int(digest(as_plain(request))[:8], 16),
            )
            return [(prompt.ids, sampling)]
        scoring = SamplingParams(temperature=0.0, max_tokens=SCORED_TOKEN, prompt_logprobs=0)
        return [(window.ids, scoring) for window in self._windows(request)[0]]

    def _windows(self, request: LogLikelihood) -> tuple[list[Any], int]:
        pair = encode_pair(self._reader.codec, request)
        if pair.encoded == "not":
            return [], 0
        # A window has one id more than it has positions, since the last is predicted and never read; vLLM reads it.
        return windows(pair.context, pair.continuation, self._reader.max_positions - 1)

    def _written(self, request: Generation, output: Any) -> Text:
        completion = output.outputs[0]
        finish: Any = "length" if completion.finish_reason == "length" else "end"
        if isinstance(completion.stop_reason, str):
            finish = "stop"
        num_truncated = encode_prompt(self._reader, request).num_truncated
        return Text(completion.text, finish, num_truncated, len(completion.token_ids))

    def _scored(self, request: LogLikelihood, outputs: Sequence[Any]) -> Likelihood:
        pair = encode_pair(self._reader.codec, request)
        if pair.encoded == "not":
            return Likelihood(float("-inf"), False, 0, "not", 0)
        parts, num_truncated = self._windows(request)
        rows = [
            row[token]
            for window, output in zip(parts, outputs, strict=True)
            for token, row in list(zip(window.ids, output.prompt_logprobs, strict=True))[-window.num_scored :]
        ]
        total, is_greedy = sum(row.logprob for row in rows), all(row.rank == 1 for row in rows)
        return Likelihood(total, is_greedy, num_truncated, pair.encoded, len(pair.continuation))


def named(name: str) -> ModelSource:
    """The model of "vllm:FOLDER". Raises ValueError if the folder holds no model, or vLLM is not installed."""
    if find_spec("vllm") is None:
        raise ValueError(f"{name}: needs the package vllm. Install it, in an environment of its own.")
    source = ModelSource(Path(name.removeprefix(PREFIX)))
    source.require()
    # Its numbers are those of another engine, regardless of its dtype.
    return replace(source, dtype="auto")
