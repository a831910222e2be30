"""Bodies of answers and errors in the words of OpenAI's API."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from arctic_model.inference.completion import Completion, TokenLogprobs
from pipelines.models.codec import TextCodec

FINISH_REASONS = {"stop": "stop", "end": "stop", "length": "length"}
"""Our reasons and OpenAI's."""


def error(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def models(name: str, max_model_len: int) -> dict[str, Any]:
    """The body of /v1/models."""
    card = {"id": name, "object": "model", "created": 0, "owned_by": "arctic", "max_model_len": max_model_len}
    return {"object": "list", "data": [card]}


def usage(completions: Sequence[Completion]) -> dict[str, Any]:
    """Tokens of prompts and answers."""
    prompt = sum(len(each.request.prompt) for each in completions)
    answer = sum(len(each.ids) for each in completions)
    cached = sum(each.num_shared for each in completions)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def finish_reason(completion: Completion | None) -> str | None:
    """OpenAI's name of the reason why the answer ended; None while it grows."""
    return FINISH_REASONS.get(completion.finish or "") if completion else None


class Envelope:
    """The fields around the choices of one answer, the same in all pieces of a stream."""

    def __init__(self, kind: str, model: str) -> None:
        prefix = "chatcmpl" if kind.startswith("chat") else "cmpl"
        self._fields = {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._kind = kind

    def whole(self, choices: list[dict[str, Any]], completions: Sequence[Completion]) -> dict[str, Any]:
        """The body of an answer in one piece."""
        return {**self._fields, "object": self._kind, "choices": choices, "usage": usage(completions)}

    def piece(self, choices: list[dict[str, Any]], totals: dict[str, Any] | None = None) -> dict[str, Any]:
        """The body of one event of a stream."""
        kind = "chat.completion.chunk" if self._kind.startswith("chat") else self._kind
        extra = {} if totals is None else {"usage": totals}
        return {**self._fields, "object": kind, "choices": choices, **extra}


def completion_logprobs(codec: TextCodec, completion: Completion, echo: bool) -> dict[str, Any]:
    """`logprobs` of /v1/completions. With `echo` the prompt comes first, and its first token has none."""
    rows: list[TokenLogprobs | None] = list(completion.logprobs[: len(completion.ids)])
    tokens = list(completion.ids)
    if echo:
        rows = [None, *completion.prompt_logprobs, *rows]
        tokens = [*completion.request.prompt, *tokens]
    texts = [codec.decode([token]) for token in tokens]
    offsets, position = [], 0
    for text in texts:
        offsets.append(position)
        position += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [row.logprob if row else None for row in rows],
        "top_logprobs": [_top(codec, row) if row else None for row in rows],
        "text_offset": offsets,
    }


def chat_logprobs(codec: TextCodec, completion: Completion) -> dict[str, Any]:
    """`logprobs` of /v1/chat/completions."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        text = codec.decode([token])
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    rows = completion.logprobs[: len(completion.ids)]
    return {
        "content": [
            {**entry(row.token, row.logprob), "top_logprobs": [entry(*pair) for pair in row.top.items()]}
            for row in rows
        ]
    }


def _top(codec: TextCodec, row: TokenLogprobs) -> dict[str, float]:
    """By text, the largest of tokens that read alike. The token itself is always among them, as in OpenAI's API."""
    top: dict[str, float] = {}
    for token, logprob in [*row.top.items(), (row.token, row.logprob)]:
        text = codec.decode([token])
        top[text] = max(top.get(text, logprob), logprob)
    return top
