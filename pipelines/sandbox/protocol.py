"""The protocol between the sandbox's processes: frames of bytes over pipes, and the names of outcomes."""

import json
import os
from typing import Any

RETURNED, TIMEOUT, ASLEEP, DIED, UNUSABLE = "returned", "timeout", "asleep", "died", "unusable"
"""Outcomes of one exchange with a program's process, as its monitor saw it."""
READY = b"ready"
"""The first frame of a locked process; any other is the reason why it could not be locked."""
PREFIX_BYTES = 4


def frame(content: bytes) -> bytes:
    """`content` behind its length."""
    return len(content).to_bytes(PREFIX_BYTES, "big") + content


def send(descriptor: int, content: bytes) -> None:
    """Writes one frame, waiting for the reader. Raises BrokenPipeError if there is none."""
    rest = memoryview(frame(content))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def send_headed(descriptor: int, header: dict[str, Any], content: bytes) -> None:
    """Writes one frame of a header and a content."""
    send(descriptor, json.dumps(header).encode() + b"\n" + content)


def receive_headed(descriptor: int) -> tuple[dict[str, Any], bytes]:
    """Reads a message of `send_headed`; no header if the frame is empty."""
    header, _, content = receive(descriptor).partition(b"\n")
    return json.loads(header or b"{}"), content


def receive(descriptor: int) -> bytes:
    """Reads one frame, waiting for the writer. Raises EOFError if there is none, or it stops halfway."""
    return _exactly(descriptor, int.from_bytes(_exactly(descriptor, PREFIX_BYTES), "big"))


def _exactly(descriptor: int, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        part = os.read(descriptor, min(count - len(content), 1 << 20))
        if not part:
            raise EOFError("the other side closed its pipe")
        content += part
    return bytes(content)
