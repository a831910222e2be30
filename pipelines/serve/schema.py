"""Requests of OpenAI's API, as far as they are answered here. A field that is not there is an error, never ignored."""

import secrets
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from arctic_model.inference.sampling import Sampling
from pipelines.models.writing import WritingOptions

DEFAULT_TOKENS = 16
"""Of a completion without `max_tokens`, as in OpenAI's API; a chat answer may fill the context."""
MAX_LOGPROBS = 20


class StreamOptions(BaseModel):
    """Content of a stream besides text."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class Common(BaseModel):
    """Fields of both kinds of requests; top_k and min_p are vLLM's extensions."""

    model_config = ConfigDict(extra="forbid")
    model: str
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    n: Literal[1] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None

    def options(self, max_new_tokens: int | None) -> WritingOptions:
        """How the answer is written. Without a seed, every request has independent samples."""
        seed = secrets.token_hex(8) if self.seed is None else str(self.seed)
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        sampling = Sampling(self.temperature, self.top_p, self.top_k, self.min_p, seed)
        return WritingOptions(max_new_tokens, sampling, stops)


class CompletionRequest(Common):
    """Body of /v1/completions. A list of ids may replace a text."""

    prompt: str | list[int] | list[str] | list[list[int]]
    max_tokens: int | None = Field(DEFAULT_TOKENS, ge=0)
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    echo: bool = False

    def prompts(self) -> list[str | list[int]]:
        """One or more prompts, each a text or ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if all(isinstance(each, int) for each in self.prompt):
            return [[each for each in self.prompt if isinstance(each, int)]]
        return [each for each in self.prompt if not isinstance(each, int)]


class Message(BaseModel):
    """A turn of a chat."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(Common):
    """Body of /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)

    @property
    def num_logprobs(self) -> int | None:
        """Alternatives of each token; None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None
