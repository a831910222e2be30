"""A model behind a server that speaks OpenAI's protocol for completions: vLLM, SGLang, llama.cpp and others.

Chat messages go to /chat/completions, texts to /completions. Log-likelihoods need a server that can `echo` a prompt
with its `logprobs`, as vLLM can. Nothing here loads a model.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra.budget import stop_if_asked
from infra.context import StageContext
from infra.stage import digest
from infra.store.journal import Journal
from pipelines.evaluate.asking.chat import REMEDY, Chat, probe
from pipelines.evaluate.asking.protocol import Training
from pipelines.evaluate.engine.requests import Answer, Likelihood, LogLikelihood, Request, Text, answer_of, as_plain
from pipelines.evaluate.task import Item
from pipelines.models.openai_client import RequestRefusedError, ServerError, call, complete, protocol_error

PREFIX = "openai:"
"""Before the address, in the name of such a model."""
MAX_STOPS = 4
"""The protocol's maximum; further stops are searched for in the answer."""
REQUESTS_AHEAD = 16
"""Requests that the server has at a time."""


@dataclass(frozen=True)
class OpenAIServer:
    """A model by the address of its server, such as http://127.0.0.1:8000/v1, and its name there."""

    url: str
    model: str

    @classmethod
    def named(cls, name: str) -> "OpenAIServer":
        """The model of "openai:http://host:8000/v1#model"; without "#model", the only one that the server has.

        Raises ServerError if the address is no address, or the server does not answer or has several models.
        """
        url, _, model = name.removeprefix(PREFIX).partition("#")
        parts = urlsplit(url)
        if not name.startswith(PREFIX) or parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ServerError(f"--model {name}: not an address. Give openai:http://HOST:PORT/v1, or ...#MODEL.")
        url = url.rstrip("/")
        return cls(url, model or _only_model(url))

    def ask(self, request: Request) -> Answer:
        """The answer to one request. Raises ServerError."""
        if isinstance(request, LogLikelihood):
            return self._score(request)
        sampling = {"max_tokens": request.max_new_tokens, "temperature": request.temperature, "seed": request.sample}
        fields: dict[str, Any] = {**sampling, **({"stop": list(request.stops[:MAX_STOPS])} if request.stops else {})}
        if request.form == "message":
            path, fields["messages"] = "chat/completions", request.messages
            if request.opening:
                # Fields of vLLM and SGLang; others go on from a last message of the assistant by themselves.
                fields |= {"add_generation_prompt": False, "continue_final_message": True}
        else:
            path, fields["prompt"] = "completions", request.prompt
        completion = complete(f"{self.url}/{path}", {"model": self.model, **fields})
        return _cut(completion.text, completion.finish, request.stops, completion.answer_tokens)

    def _score(self, request: LogLikelihood) -> Likelihood:
        fields = {"prompt": request.context + request.continuation, "max_tokens": 0, "temperature": 0.0}
        url = f"{self.url}/completions"
        reply = call(url, {"model": self.model, **fields, "echo": True, "logprobs": 1})
        try:
            tokens = reply["choices"][0].get("logprobs")
            if tokens and tokens.get("text_offset"):
                return _likelihood(tokens, len(request.context.rstrip()))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise protocol_error(url, error) from None
        raise ServerError(
            f"{self.url}: it gives no log-probabilities of a prompt (echo with logprobs). Name only tasks that "
            "generate, such as ifeval, or serve the model with vLLM."
        )


def _likelihood(tokens: Mapping[str, Any], start: int) -> Likelihood:
    """Of the text from the character `start` on, by a prompt's `logprobs`."""
    offsets = tokens["text_offset"]
    first = offsets.index(start) if start in offsets else len(offsets)
    values = tokens["token_logprobs"][first:]
    if not values or values[0] is None:
        return Likelihood(float("-inf"), False, 0, "not")
    best = [max(each.values()) for each in tokens["top_logprobs"][first:]]
    is_greedy = all(value >= other for value, other in zip(values, best, strict=True))
    return Likelihood(float(sum(values)), is_greedy, 0, num_tokens=len(values))


class ServerRespondent:
    """Asks a server, several requests at a time; every answer is recorded as it arrives."""

    training = Training(0, 0, 0)
    template = "of the server"
    engine = "an OpenAI-compatible server"

    def __init__(self, server: OpenAIServer) -> None:
        self._server = server
        self.seconds: dict[Request, float] = {}

    def asked_in_chat(self, chat: Chat) -> bool:
        """True unless the option is "never": a server does not report whether its model was tuned in a chat."""
        return chat != "never"

    def refusal(self, roles: Sequence[str]) -> str:
        """A server does not show its template, so it is asked for one token, unless the user's turn is all. Raises
        ServerError if there is no answer."""
        try:
            if len(roles) > 1:
                self._server.ask(probe(roles))
        except RequestRefusedError as error:
            return f"{self._server.url}: it refuses turns of {', '.join(roles)} ({error.reason}). {REMEDY}"
        return ""

    def answer(self, asked: Sequence[tuple[str, Item]], journal: Journal, context: StageContext) -> list[list[Answer]]:
        """The answers to the requests of each item. Raises ServerError, and StoppedError before the next request."""
        keys = {request: self._key(request) for _, item in asked for request in item.requests}
        waiting = [request for request, key in keys.items() if key not in journal]
        with ThreadPoolExecutor(REQUESTS_AHEAD) as pool:
            futures = {pool.submit(self._ask, request, context): request for request in waiting}
            failures = list(_record(futures, keys, journal, context))
        if failures:
            raise failures[0]
        return [[answer_of(journal[keys[request]]) for request in item.requests] for _, item in asked]

    def _ask(self, request: Request, context: StageContext) -> Answer:
        stop_if_asked(context, 1)
        began_s = time.perf_counter()
        answer = self._server.ask(request)
        self.seconds[request] = time.perf_counter() - began_s
        return answer

    def _key(self, request: Request) -> str:
        return digest({"server": [self._server.url, self._server.model], "request": as_plain(request)})


def _record(
    futures: Mapping[Future[Answer], Request], keys: Mapping[Request, str], journal: Journal, context: StageContext
) -> Iterator[BaseException]:
    """Keep answers as they come. After a failure it sends no further requests, and still records pending answers."""
    num_done = len(keys) - len(futures)
    for future in as_completed(futures):
        if future.cancelled():
            continue
        if failure := future.exception():
            for other in futures:
                other.cancel()
            yield failure
            continue
        journal.add({keys[futures[future]]: dict(future.result()._asdict())})
        num_done += 1
        context.progress(num_done, len(keys), "answers")


def _cut(text: str, reason: str, stops: Sequence[str], num_tokens: int | None) -> Text:
    """The text before the first stop. A server that stops by itself leaves the stop out, and reports the end."""
    ends = [text.find(stop) for stop in stops if stop in text]
    if ends:
        return Text(text[: min(ends)], "stop", 0, num_tokens)
    return Text(text, "length" if reason == "length" else "end", 0, num_tokens)


def _only_model(url: str) -> str:
    listed = call(f"{url}/models", None)
    try:
        names = [str(model["id"]) for model in listed["data"]]
    except (KeyError, TypeError) as error:
        raise protocol_error(f"{url}/models", error) from None
    if len(names) != 1:
        raise ServerError(
            f"{url}: it has {len(names)} models. Name one of {', '.join(names)}: --model {PREFIX}{url}#NAME."
        )
    return names[0]
