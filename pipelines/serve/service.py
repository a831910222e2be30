"""One replica's model: requests of the API to the engine, and answers back."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.cpu.products import thread_counts
from pipelines.models.codec import TextCodec
from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource
from pipelines.models.writing import WritingOptions, encode_text, new_engine
from pipelines.serve.engine_loop import EngineLoop, Ticket
from pipelines.serve.metrics import Metrics
from pipelines.serve.options import ServeOptions
from pipelines.serve.replies import Envelope, chat_logprobs, completion_logprobs, finish_reason, usage
from pipelines.serve.schema import ChatRequest, CompletionRequest, StreamOptions

COMPLETION, CHAT = "text_completion", "chat.completion"


class Service:
    """Loads the model and answers requests. A checkpoint that is replaced later changes nothing: all of it is in
    memory. Raises ValueError or CheckpointError if the model cannot be read."""

    def __init__(self, options: ServeOptions, replica: str) -> None:
        import torch

        torch.set_num_threads(options.num_threads)
        tokenizer = Path(options.tokenizer) if options.tokenizer else None
        device, dtype = ("cuda", "bfloat16") if options.num_gpus else ("cpu", options.dtype)
        model = load_model(ModelSource(Path(options.checkpoint), tokenizer, device, dtype), options.stream)
        self.options = options
        self.codec: TextCodec = model.codec
        engine = new_engine(model, options.max_batch, options.max_model_len)
        self.engine = EngineLoop(engine, options.max_batch, options.max_queue)
        self.metrics = Metrics(self.engine, replica, thread_counts() if device == "cpu" else {})

    def start_completion(self, body: CompletionRequest) -> list[Ticket]:
        """Queue the prompts of /v1/completions. Raises GenerationError or QueueFullError."""
        options = body.options(body.max_tokens)
        return self.engine.submit([self._completion_request(body, prompt, options) for prompt in body.prompts()])

    def start_chat(self, body: ChatRequest) -> list[Ticket]:
        """Queue the next turn of /v1/chat/completions. Raises GenerationError, QueueFullError, or ValueError if the
        tokenizer has no chat template."""
        text = self.codec.chat([{"role": each.role, "content": each.content} for each in body.messages])
        options = body.options(body.max_completion_tokens or body.max_tokens)
        prompt = self.codec.encode(text, marks=True)
        return self.engine.submit([options.request(prompt, self.engine.capacity, body.num_logprobs)])

    async def answer(self, body: CompletionRequest | ChatRequest, tickets: list[Ticket]) -> dict[str, Any]:
        """The whole answer."""
        for ticket in tickets:
            async for _ in self.engine.pieces(ticket):
                pass
        completions = [_completion(ticket) for ticket in tickets]
        choices = [self._choice(body, number, each) for number, each in enumerate(completions)]
        return Envelope(_kind(body), body.model).whole(choices, completions)

    async def stream(
        self, body: CompletionRequest | ChatRequest, tickets: list[Ticket]
    ) -> AsyncIterator[dict[str, Any]]:
        """The events of a stream: pieces of every answer, and its usage if the request asks for it."""
        envelope, is_chat = Envelope(_kind(body), body.model), isinstance(body, ChatRequest)
        if is_chat:
            yield envelope.piece([_chat_delta(0, {"role": "assistant", "content": ""}, None)])
        for number, ticket in enumerate(tickets):
            async for text in self.engine.pieces(ticket):
                if text:
                    yield envelope.piece([_delta(is_chat, number, text, None)])
            yield envelope.piece([_delta(is_chat, number, "", finish_reason(ticket.completion))])
        if (body.stream_options or StreamOptions()).include_usage:
            yield envelope.piece([], usage([_completion(ticket) for ticket in tickets]))

    def _completion_request(self, body: CompletionRequest, prompt: str | list[int], options: WritingOptions) -> Request:
        ids = encode_text(self.codec, prompt) if isinstance(prompt, str) else prompt
        if body.echo:
            limit = options.max_new_tokens or 0
            scores = body.logprobs is not None
            return Request(ids, limit, options.sampling, options.stops, body.logprobs, scores_prompt=scores)
        return options.request(ids, self.engine.capacity, body.logprobs)

    def _choice(self, body: CompletionRequest | ChatRequest, number: int, completion: Completion) -> dict[str, Any]:
        text, reason = completion.text.text(), finish_reason(completion)
        if isinstance(body, ChatRequest):
            logprobs = chat_logprobs(self.codec, completion) if body.logprobs else None
            message = {"role": "assistant", "content": text}
            return {"index": number, "message": message, "finish_reason": reason, "logprobs": logprobs}
        scored = body.logprobs is not None
        logprobs = completion_logprobs(self.codec, completion, body.echo) if scored else None
        before = self.codec.decode(completion.request.prompt) if body.echo else ""
        return {"index": number, "text": before + text, "finish_reason": reason, "logprobs": logprobs}


def _kind(body: CompletionRequest | ChatRequest) -> str:
    return CHAT if isinstance(body, ChatRequest) else COMPLETION


def _completion(ticket: Ticket) -> Completion:
    assert ticket.completion is not None
    return ticket.completion


def _delta(is_chat: bool, number: int, text: str, reason: str | None) -> dict[str, Any]:
    if is_chat:
        return _chat_delta(number, {"content": text} if text else {}, reason)
    return {"index": number, "text": text, "finish_reason": reason, "logprobs": None}


def _chat_delta(number: int, delta: dict[str, str], reason: str | None) -> dict[str, Any]:
    return {"index": number, "delta": delta, "finish_reason": reason, "logprobs": None}
