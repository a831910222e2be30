"""From requests to ids, as lm-evaluation-harness 0.4.13 does it (its TemplateLM and HFLM)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from pipelines.evaluate.engine.requests import Generation, LogLikelihood
from pipelines.models.codec import TextCodec


class Reader(Protocol):
    """The part of a model that encodes a prompt: the codec of its ids, and the maximum number of ids in a sequence."""

    @property
    def codec(self) -> TextCodec: ...
    @property
    def max_positions(self) -> int: ...


class Window(NamedTuple):
    """Ids of which the last `num_scored` are predicted; at most one more than the model has positions."""

    ids: list[int]
    num_scored: int


class Prompt(NamedTuple):
    """Ids to go on from, how many new ones there may be, and how many ids were lost on the left."""

    ids: list[int]
    max_new_tokens: int
    num_truncated: int


class Pair(NamedTuple):
    """Ids of context and continuation; `encoded` as in Likelihood."""

    context: list[int]
    continuation: list[int]
    encoded: Literal["together", "alone", "not"]


def encode_pairs(codec: TextCodec, requests: Sequence[LogLikelihood]) -> list[Pair]:
    """`encode_pair` of each request; a context that several have is encoded alone once."""
    contexts: dict[tuple[str, bool], list[int]] = {}
    return [_encode_pair(codec, request, contexts) for request in requests]


def encode_pair(codec: TextCodec, request: LogLikelihood) -> Pair:
    """Ids of context and continuation: encoded together and split after the context's ids, or each alone if a token
    that covers the end of both leaves nothing behind that place."""
    return _encode_pair(codec, request, {})


def _encode_pair(codec: TextCodec, request: LogLikelihood, contexts: dict[tuple[str, bool], list[int]]) -> Pair:
    blanks = len(request.context) - len(request.context.rstrip())
    context = request.context[: len(request.context) - blanks]
    continuation = request.context[len(context) :] + request.continuation
    if context:
        key = context, request.templated
        before = contexts[key] = contexts.get(key) or codec.encode(context, marks=request.templated)
        after = codec.encode(context + continuation, marks=request.templated)[len(before) :]
    else:
        before, after = [], codec.encode(continuation, begin=False)
    if not before:
        before = [codec.prefix_id]
        if after[:1] == before:
            after = after[1:]
    if after:
        return Pair(before, after, "together")
    alone = codec.encode(continuation, begin=False)
    return Pair(before, alone, "alone" if alone else "not")


def windows(context: list[int], continuation: list[int], max_positions: int) -> tuple[list[Window], int]:
    """The inputs of the model that predict every id of the continuation once, each with as much context as fits; and
    the number of context ids that are cut.

    A continuation longer than the model's positions takes several windows (lm-evaluation-harness's rolling windows).
    """
    ids = context + continuation
    boundaries = []
    for start in range(len(context), len(ids), max_positions):
        end = min(start + max_positions, len(ids))
        boundaries.append(Window(ids[max(0, end - max_positions - 1) : end], end - start))
    first = boundaries[0]
    return boundaries, len(context) - (len(first.ids) - first.num_scored)


def encode_prompt(model: Reader, request: Generation) -> Prompt:
    """The prompt, cut on the left if it leaves no room for the new tokens; half of the positions are room enough.

    Raises ValueError on an empty stop, which would end every answer before it begins, and on a message if the tokenizer
    has no chat template.
    """
    if "" in request.stops:
        raise ValueError(
            f"stops {request.stops!r} of the prompt ...{request.prompt[-40:]!r}: a stop is empty. Leave it out."
        )
    codec = model.codec
    text, marks = request.prompt, request.form == "templated"
    if request.form == "message":
        text, marks = codec.chat(request.messages, begun=bool(request.opening)), True
    ids = codec.encode(text, marks=marks) or [codec.prefix_id]
    context_ids = ids[-(model.max_positions - min(request.max_new_tokens, model.max_positions // 2)) :]
    return Prompt(
        context_ids, min(request.max_new_tokens, model.max_positions - len(context_ids)), len(ids) - len(context_ids)
    )
