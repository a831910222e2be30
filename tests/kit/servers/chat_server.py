"""A server that speaks OpenAI's chat protocol and answers by a function of the prompt."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.kit.servers.serving import serving

Failure = tuple[int, dict[str, str]]
"""Status and headers of a reply that is no answer."""


@dataclass
class ChatServer:
    """`answer`: text and finish reason for the fields of a request; `fail`: None, or how to fail the n-th request;
    `tokens`: those of prompt and answer; `seen`: requests answered, by their fields as JSON."""

    answer: Callable[[dict[str, Any]], tuple[str, str]]
    fail: Callable[[int, dict[str, Any]], Failure | None] = lambda number, fields: None
    usage: bool = True
    tokens: Callable[[dict[str, Any]], tuple[int, int]] = lambda fields: (10, 5)
    url: str = ""
    seen: Counter[str] = field(default_factory=Counter)
    num_requests: int = 0
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, fields: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and content of the reply to one request."""
        with self._lock:
            self.num_requests += 1
            number = self.num_requests
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if failure := self.fail(number, fields):
                return *failure, {"error": {"message": "made to fail"}}
            text, finish = self.answer(fields)
        finally:
            with self._lock:
                self._at_once -= 1
        with self._lock:
            self.seen[json.dumps(fields, sort_keys=True)] += 1
        tokens = dict(zip(("prompt_tokens", "completion_tokens"), self.tokens(fields), strict=True))
        content = {"choices": [{"finish_reason": finish, "message": {"content": text}}]}
        return 200, {}, {**content, **({"usage": tokens} if self.usage else {})}


@contextmanager
def chat_server(
    answer: Callable[[dict[str, Any]], tuple[str, str]], port: int = 0, **options: Any
) -> Iterator[ChatServer]:
    """A running server on loopback, on any free port unless one is given."""
    state = ChatServer(answer, **options)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Silence."""

        def do_POST(self) -> None:
            fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, content = state.reply(fields)
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    running = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    state.url = f"http://127.0.0.1:{running.server_port}/v1"
    with serving(running):
        yield state
