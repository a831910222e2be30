"""The text of ids that come one by one, up to the first stop."""

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"
"""Placeholder for bytes that are not a whole character."""
PENDING_IDS = 8
"""A character has four bytes, hence at most four ids; ids that are no character after twice as many never become
one."""


class TextStream:
    """Decodes an answer as it grows, looking at the newest ids only.

    Args:
        decode: text of ids.
        stops: an answer ends before the first of these.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stops = stops
        self._ids: list[int] = []
        self._seen = 0
        # Text of ids before `_read` is known. It is decoded again from `_start`, since the text of an id may depend on
        # the previous one.
        self._start = self._read = 0
        self._tail = ""
        self._untaken: list[str] = []
        self._num_taken = 0

    def push(self, token: int) -> bool:
        """Add an id. Returns whether the text holds a stop now."""
        self._ids.append(token)
        # Without stops only `take` needs the text so far, which takes long to decode id by id.
        return self._decode_next() if self._stops else False

    def _decode_next(self) -> bool:
        """Decode the first id that is not looked at yet, as far as it makes whole characters. Returns whether the text
        up to it holds a stop."""
        self._seen += 1
        before = self._decode(self._ids[self._start : self._read])
        now = self._decode(self._ids[self._start : self._seen])
        new = now[len(before) :]
        if new.endswith(UNFINISHED) and self._seen - self._read < PENDING_IDS:
            return first_stop(self._tail + new, self._stops) is not None and self._is_certain()
        self._start, self._read = self._read, self._seen
        self._untaken.append(new)
        is_stopped = first_stop(self._tail + new, self._stops) is not None
        longest = max((len(stop) for stop in self._stops), default=1)
        self._tail = (self._tail + new)[-longest:]
        return is_stopped and self._is_certain()

    def take(self) -> str:
        """The text since the last call that later ids cannot change: whole characters that begin no stop."""
        while self._seen < len(self._ids):
            self._decode_next()
        new = "".join(self._untaken)
        held_back = max((_overlap(new, stop) for stop in self._stops), default=0)
        taken = new[: len(new) - held_back][: first_stop(new, self._stops)]
        self._untaken = [new[len(taken) :]]
        self._num_taken += len(taken)
        return taken

    def take_rest(self) -> str:
        """The text since the last `take`, if no id follows."""
        taken = self.text()[self._num_taken :]
        self._num_taken += len(taken)
        return taken

    def text(self) -> str:
        """All text before the first stop."""
        text = self._decode(self._ids)
        return text[: first_stop(text, self._stops)]

    def _is_certain(self) -> bool:
        return first_stop(self._decode(self._ids), self._stops) is not None


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Offset of the first of `stops`."""
    return min((index for stop in stops if (index := text.find(stop)) >= 0), default=None)


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
