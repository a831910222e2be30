"""A server that stalls, breaks off or speaks another protocol: it is asked again, or told, and never a bare error."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pipelines.models import openai_client
from pipelines.models.openai_client import ATTEMPTS, Completion, ServerError, complete

ANSWER = {
    "choices": [{"finish_reason": "stop", "message": {"content": "Yes."}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2},
}
TIMEOUT_S = 1.0
SHORT_TIMEOUT_S = 0.2
TRICKLE_S = 0.02
Behaviour = Callable[[socket.socket], None]


def http(body: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (length or len(body), body)


WHOLE = http(json.dumps(ANSWER).encode())


def sends(data: bytes) -> Behaviour:
    return lambda connection: connection.sendall(data)


def stalls_after(data: bytes) -> Behaviour:
    def behaviour(connection: socket.socket) -> None:
        connection.sendall(data)
        # Until the client gives up and closes its side.
        connection.settimeout(60)
        connection.recv(1)

    return behaviour


def trickles(connection: socket.socket) -> None:
    """A byte at a time: no wait for one byte is long, and the whole takes minutes."""
    connection.sendall(WHOLE[:-20])
    for _ in range(10_000):
        connection.sendall(b" ")
        time.sleep(TRICKLE_S)


SILENT: dict[str, Behaviour] = {
    "no byte": stalls_after(b""),
    "half of the headers": stalls_after(WHOLE[:20]),
    "half of the body": stalls_after(WHOLE[:-20]),
    "a trickle": trickles,
    "closed at once": sends(b""),
    "closed within the body": sends(WHOLE[:-20]),
    "closed within the headers": sends(WHOLE[:20]),
    "no HTTP": sends(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "no JSON": sends(http(b"<html>busy</html>")),
    "half of a character": sends(http(b'{"a": "\xc3"}')),
}
OTHER_PROTOCOLS = {
    "a list": [ANSWER],
    "null": None,
    "no choices": {"error": "none"},
    "empty choices": {"choices": []},
    "choices that are an object": {"choices": {"text": "Yes."}},
    "a choice that is a text": {"choices": ["Yes."]},
    "no text": {"choices": [{"index": 0}]},
    "a message that is a text": {"choices": [{"message": "Yes."}]},
    "a text in parts": {"choices": [{"message": {"content": [{"type": "text", "text": "Yes."}]}}]},
    "usage that is a list": {**ANSWER, "usage": [10, 2]},
    "usage in words": {**ANSWER, "usage": {"prompt_tokens": "10", "completion_tokens": "2"}},
}


@contextmanager
def server(*behaviours: Behaviour) -> Iterator[str]:
    """The address of a server whose n-th connection is met by the n-th behaviour, and all later ones by the last."""
    listening = socket.create_server(("127.0.0.1", 0))

    def meet(connection: socket.socket, behaviour: Behaviour) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request or not request.endswith(b"}"):
                request += connection.recv(65536)
            try:
                behaviour(connection)
            except OSError:
                return  # The client has gone.

    def listen() -> None:
        number = 0
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            behaviour = behaviours[min(number, len(behaviours) - 1)]
            threading.Thread(target=meet, args=(connection, behaviour), daemon=True).start()
            number += 1

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/chat/completions"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, none of which is waited."""
    waits: list[float] = []

    class Clock:
        monotonic = staticmethod(time.monotonic)
        sleep = staticmethod(waits.append)

    monkeypatch.setattr(openai_client, "time", Clock)
    return waits


@pytest.mark.parametrize("behaviour", SILENT.values(), ids=SILENT)
def test_an_answer_that_does_not_come_whole_is_asked_for_again(behaviour: Behaviour, waits: list[float]) -> None:
    with server(behaviour, sends(WHOLE)) as url:
        assert complete(url, {"model": "toy"}, TIMEOUT_S) == Completion("Yes.", "stop", 10, 2)
    assert waits


@pytest.mark.parametrize("behaviour", SILENT.values(), ids=SILENT)
def test_a_server_that_never_answers_is_told_with_its_address(behaviour: Behaviour, waits: list[float]) -> None:
    with server(behaviour) as url:
        began = time.monotonic()
        with pytest.raises(ServerError, match=rf"{url}: no answer \(.*\)\. Start the server, or mend the address"):
            complete(url, {"model": "toy"}, SHORT_TIMEOUT_S)
        assert time.monotonic() - began < ATTEMPTS * 2 * SHORT_TIMEOUT_S + 20
    assert waits == sorted(waits) and len(waits) == ATTEMPTS - 1


@pytest.mark.parametrize("answer", OTHER_PROTOCOLS.values(), ids=OTHER_PROTOCOLS)
def test_an_answer_of_another_protocol_is_told_and_not_asked_for_again(answer: object, waits: list[float]) -> None:
    with (
        server(sends(http(json.dumps(answer).encode()))) as url,
        pytest.raises(ServerError, match=rf"{url}: its answer is none of OpenAI's protocol"),
    ):
        complete(url, {"model": "toy"}, 60.0)
    assert not waits


def test_a_server_that_reports_no_usage_or_no_text_is_in_order(waits: list[float]) -> None:
    silent = {"choices": [{"message": {"content": None}}]}
    with server(sends(http(json.dumps(silent).encode()))) as url:
        assert complete(url, {"model": "toy"}, 60.0) == Completion("", "None", None, None)
