"""Prompts and options for text that a model writes: the shared part of `generate`, `chat` and `serve`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.engine import Engine
from arctic_model.inference.sampling import GREEDY, GenerationError, Sampling
from pipelines.models.codec import TextCodec
from pipelines.models.text_model import TextModel

STREAM_TOKENS = 2**20
"""Tokens of a prompt with its answer that a text without end has by default."""


@dataclass(frozen=True)
class WritingOptions:
    """How an answer is written.

    Attributes:
        max_new_tokens: Limit of an answer; None for all that the context has room for.
        sampling: How tokens are chosen.
        stops: Texts that end an answer.
    """

    max_new_tokens: int | None = None
    sampling: Sampling = GREEDY
    stops: tuple[str, ...] = ()

    def request(self, prompt: Sequence[int], capacity: int, num_logprobs: int | None = None) -> Request:
        """The request that continues `prompt`. Raises GenerationError if the context has no room for a token more."""
        room = capacity - len(prompt)
        if room < 1:
            raise GenerationError(
                f"the prompt has {len(prompt)} tokens and the context {capacity}: there is no room for an answer. "
                "Shorten the prompt."
            )
        limit = room if self.max_new_tokens is None else self.max_new_tokens
        return Request(prompt, limit, self.sampling, self.stops, num_logprobs)


def new_engine(model: TextModel, max_batch: int = 1, capacity: int | None = None) -> Engine:
    """An engine that writes the text of `model`, of a stream up to STREAM_TOKENS unless `capacity` is another limit."""
    codec = model.codec
    if model.streams:
        capacity = capacity or STREAM_TOKENS
    return Engine(model, decode=codec.decode, end_ids=codec.end_ids, max_batch=max_batch, capacity=capacity)


def encode_text(codec: TextCodec, text: str) -> list[int]:
    """Ids of a text to continue; of an empty one, the ids that begin a document."""
    return codec.encode(text) or [codec.prefix_id]


@dataclass
class Conversation:
    """A chat with a model: its turns so far, and the next answer piece by piece.

    Args:
        model: A model whose tokenizer has a chat template.
        options: How answers are written.
        messages: Turns so far, such as a system message.
    """

    model: TextModel
    options: WritingOptions
    messages: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._engine = new_engine(self.model)

    def answer(self, text: str, is_stopped: Callable[[], bool] = lambda: False) -> Iterator[str]:
        """Add a turn, and yield the answer as it is written. It ends early once `is_stopped`, and stays in the history.

        Raises:
            GenerationError: If the turns leave no room for an answer, or the model's logits are not finite; the turn
                is taken back.
        """
        self.messages.append({"role": "user", "content": text})
        ids = self.model.codec.encode(self.model.codec.chat(self.messages), marks=True)
        try:
            completion = self._engine.add(self.options.request(ids, self._engine.capacity))
            yield from self._pieces(completion, is_stopped)
        except GenerationError:
            self.messages.pop()
            raise
        self.messages.append({"role": "assistant", "content": completion.text.text()})

    def _pieces(self, completion: Completion, is_stopped: Callable[[], bool]) -> Iterator[str]:
        while completion.finish is None:
            self._engine.step()
            yield completion.text.take()
            if is_stopped():
                self._engine.cancel(completion)
        yield completion.text.take_rest()
        if completion.error:
            raise completion.error
