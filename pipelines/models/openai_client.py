"""Calls to a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, our own `arctic serve` and others."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import urllib3

from arctic_errors import UserError
from infra.host.web import connections, proxy_of

KEY = "OPENAI_API_KEY"
"""Environment variable with the token that the server asks for."""
ATTEMPTS = 5
TIMEOUT_S = 600.0
MAX_WAIT_S = 30.0
BUSY = {408, 429, 500, 502, 503, 504}
REFUSED = {400, 413, 422}
MAX_CONNECTIONS = 64
"""Connections that are kept open for further requests; more are closed after each."""
READ_BYTES = 2**20


class ServerError(UserError, RuntimeError):
    """A server cannot be used: the message names the address and the remedy."""


class RequestRefusedError(ServerError):
    """A server refuses this one request, such as one that is too long, and may take others. `reason`: its words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Completion:
    """A model's answer. `finish`: the reason for its end in the protocol's words; the numbers of tokens are None if the
    server does not report them."""

    text: str
    finish: str
    prompt_tokens: int | None
    answer_tokens: int | None


def complete(url: str, fields: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Completion:
    """The answer to a request to /completions or /chat/completions. Raises the errors of `call`."""
    reply = call(url, fields, timeout_s)
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        if not isinstance(text, str | None):
            raise TypeError(f"a text is a {type(text).__name__}")
        usage = reply.get("usage") or {}
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        if not all(isinstance(number, int | None) for number in tokens):
            raise TypeError(f"usage is {usage}")
        return Completion(text or "", str(choice.get("finish_reason")), *tokens)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise protocol_error(url, error) from None


def protocol_error(url: str, error: Exception) -> ServerError:
    """The error for an answer that lacks a part."""
    return ServerError(f"{url}: its answer is none of OpenAI's protocol ({error!r}). Mend the address.")


def call(url: str, fields: Mapping[str, Any] | None, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """JSON object that the server answers with. A busy or silent server, or one that breaks off, is asked again, after
    growing intervals or after its own Retry-After. An attempt takes at most about twice `timeout_s`.

    Raises RequestRefusedError if this request is refused, ServerError if there is no answer.
    """
    for attempt in range(1, ATTEMPTS + 1):
        wait = min(MAX_WAIT_S, 0.2 * 4**attempt)
        try:
            status, headers, body = _exchange(url, fields, timeout_s)
            if status < 300:
                answer = json.loads(body)
                break
            if status not in BUSY or attempt == ATTEMPTS:
                raise _refusal(url, status, body)
            wait = _retry_after(headers, wait)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if attempt == ATTEMPTS:
                raise ServerError(f"{url}: no answer ({error}). Start the server, or mend the address.") from error
        time.sleep(wait)
    if not isinstance(answer, dict):
        raise protocol_error(url, TypeError(f"no object, but {type(answer).__name__}"))
    return answer


def _exchange(url: str, fields: Mapping[str, Any] | None, timeout_s: float) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of one answer. Raises urllib3's errors, and TimeoutError for a body that trickles."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {token}"
    method, body = ("GET", None) if fields is None else ("POST", json.dumps(fields).encode())
    deadline = time.monotonic() + timeout_s
    reply = _pool(proxy_of(url)).request(
        method, url, body=body, headers=headers, timeout=timeout_s, retries=False, preload_content=False
    )
    pieces = []
    try:
        while piece := reply.read1(READ_BYTES):
            pieces.append(piece)
            if time.monotonic() > deadline:
                reply.close()
                raise TimeoutError(f"it is not complete after {timeout_s:g} s")
    finally:
        reply.release_conn()
    return reply.status, reply.headers, b"".join(pieces)


@cache
def _pool(proxy: str | None) -> urllib3.PoolManager:
    return connections(proxy, maxsize=MAX_CONNECTIONS)


def _refusal(url: str, status: int, body: bytes) -> ServerError:
    reason = f"{status} {' '.join(body[:500].decode(errors='replace').split())}"
    message = f"{url}: {reason} Mend the server, or set {KEY}."
    return RequestRefusedError(message, reason) if status in REFUSED else ServerError(message)


def _retry_after(headers: Mapping[str, str], wait: float) -> float:
    """Seconds that the server asks for (RFC 9110, 10.2.3), at most MAX_WAIT_S; `wait` if it names none."""
    stated = headers.get("Retry-After", "")
    return min(MAX_WAIT_S, float(stated)) if stated.isdigit() else wait
