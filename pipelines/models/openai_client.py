"""Calls to a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, our own `arctic serve` and others."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from arctic_errors import UserError

KEY = "OPENAI_API_KEY"
"""Environment variable with the token that the server asks for."""
ATTEMPTS = 5
TIMEOUT_S = 600.0
MAX_WAIT_S = 30.0
BUSY = {408, 429, 500, 502, 503, 504}


class ServerError(UserError, RuntimeError):
    """A server cannot be used: the message names the address and the remedy."""


class RequestRefusedError(ServerError):
    """A server refuses this one request, such as one that is too long, and may take others. `reason`: its words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


REFUSED = {400, 413, 422}


def call(url: str, fields: Mapping[str, Any] | None, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """JSON that the server answers with. A busy or silent server is asked again, after growing intervals or after its
    own Retry-After.

    Raises RequestRefusedError if this request is refused, ServerError if there is no answer.
    """
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {token}"
    body = None if fields is None else json.dumps(fields).encode()
    for attempt in range(1, ATTEMPTS + 1):
        wait = min(MAX_WAIT_S, 0.2 * 4**attempt)
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=timeout_s) as reply:
                answer: dict[str, Any] = json.loads(reply.read())
                return answer
        except urllib.error.HTTPError as error:
            if error.code not in BUSY or attempt == ATTEMPTS:
                raise _refusal(url, error) from error
            wait = _retry_after(error, wait)
        except (urllib.error.URLError, OSError, ValueError) as error:
            if attempt == ATTEMPTS:
                raise ServerError(f"{url}: no answer ({error}). Start the server, or mend the address.") from error
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _refusal(url: str, error: urllib.error.HTTPError) -> ServerError:
    said = " ".join(error.read(500).decode(errors="replace").split())
    message = f"{url}: {error.code} {error.reason}. {said} Mend the server, or set {KEY}."
    return RequestRefusedError(message, f"{error.code} {said}") if error.code in REFUSED else ServerError(message)


def _retry_after(error: urllib.error.HTTPError, wait: float) -> float:
    """Seconds that the server asks for (RFC 9110, 10.2.3), at most MAX_WAIT_S; `wait` if it names none."""
    stated = error.headers.get("Retry-After", "")
    return min(MAX_WAIT_S, float(stated)) if stated.isdigit() else wait
