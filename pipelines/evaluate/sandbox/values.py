"""Plain values as JSON, with a tag where JSON has no type of its own."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

Plain = Any
"""None, bool, int, float, complex, str, bytes, and list, tuple, dict, set, frozenset of such."""
MAX_HASHED = 20_000
"""Keys of one dict or set."""
MAX_KEYS = 100_000
"""Keys of all dicts and sets of a value."""
MAX_ELEMENTS = 1_000_000
"""Elements of a value, counted by the commas and brackets of its JSON: an empty list takes 64 bytes of the reader for 3
of the reply. A right answer has below 100,000."""
MAX_EQUAL_HASHES = 64
"""Keys of one hash: a dict or set takes time in proportion to the square of their number."""
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
JSON_INT_BITS = 1024
"""Longer integers travel as hexadecimal digits: decimal ones cost the square of their number, and Python refuses them
beyond 4,300."""


class PlainError(ValueError):
    """A value that is not plain, with the reason."""


def encode(value: object) -> Plain:
    """What JSON can carry of `value`, types included; a subclass of a plain type is not plain.

    Raises:
        PlainError: some part is of another type, too many keys, or nested too deeply.
    """
    try:
        return _encode(value)
    except RecursionError:
        raise PlainError("nested too deeply") from None


def decode(tagged: Plain) -> Plain:
    """The value that `encode` was given. `tagged` may come from a stranger.

    Raises:
        PlainError: nothing that `encode` makes.
    """
    try:
        return _Decoder().decode(tagged)
    except RecursionError:
        raise PlainError("nested too deeply") from None
    except (TypeError, ValueError, KeyError) as error:
        raise PlainError(f"not an encoded value: {error}") from None


def parse(text: bytes) -> Plain:
    """The JSON of a stranger, if it has no more elements than a value may have.

    Raises:
        ValueError: it has, or is no JSON.
        RecursionError: it is nested too deeply.
    """
    if _num_marks(text) > MAX_ELEMENTS and _num_marks(STRING.sub(b"", text)) > MAX_ELEMENTS:
        raise PlainError(f"more than {MAX_ELEMENTS} elements")
    return json.loads(text)


def _num_marks(text: bytes) -> int:
    return sum(map(text.count, (b",", b"[", b"{")))


def _encode(value: object) -> Plain:
    kind = type(value)
    if value is None or kind in (bool, str, float):
        return value
    if kind is list:
        return [_encode(item) for item in value]  # type: ignore[attr-defined]
    if kind is int:
        return value if value.bit_length() <= JSON_INT_BITS else {"int": hex(value)}  # type: ignore[attr-defined, arg-type]
    if kind not in ENCODERS:
        raise PlainError(f"a value of type {kind.__name__}, which is not plain")
    return {kind.__name__: ENCODERS[kind](value)}


def _keys(values: Any) -> list[Plain]:
    if len(values) > MAX_HASHED:
        raise PlainError(f"a {type(values).__name__} of {len(values)} elements, more than {MAX_HASHED}")
    return [_encode(item) for item in values]


ENCODERS: dict[type, Callable[[Any], Plain]] = {
    tuple: lambda value: [_encode(item) for item in value],
    dict: lambda value: [_keys(value), [_encode(item) for item in value.values()]],
    set: _keys,
    frozenset: _keys,
    bytes: bytes.hex,
    complex: lambda value: [value.real, value.imag],
}


class _Decoder:
    """Decodes one value, and counts its keys."""

    def __init__(self) -> None:
        self._keys_left = MAX_KEYS

    def decode(self, tagged: Plain) -> Plain:
        if isinstance(tagged, list):
            return [self.decode(item) for item in tagged]
        if not isinstance(tagged, dict):
            return tagged
        ((kind, content),) = tagged.items()
        match kind:
            case "int":
                return int(content, 16)
            case "tuple":
                return tuple(map(self.decode, content))
            case "dict":
                keys, values = content
                return dict(zip(self._keys(keys), map(self.decode, values), strict=True))
            case "set":
                return set(self._keys(content))
            case "frozenset":
                return frozenset(self._keys(content))
            case "bytes":
                return bytes.fromhex(content)
            case "complex":
                real, imag = content
                return complex(float(real), float(imag))
        raise PlainError(f"no type {kind!r}")

    def _keys(self, content: Plain) -> list[Plain]:
        """Keys that a dict or set takes in time proportional to their number."""
        if len(content) > MAX_HASHED:
            raise PlainError(f"{len(content)} elements, more than {MAX_HASHED}")
        self._keys_left -= len(content)
        if self._keys_left < 0:
            raise PlainError(f"more than {MAX_KEYS} keys")
        keys = [self.decode(item) for item in content]
        # The hash of a hash is itself, so that this table is made quickly even if all keys collide.
        if max(Counter(map(hash, keys)).values(), default=0) > MAX_EQUAL_HASHES:
            raise PlainError(f"more than {MAX_EQUAL_HASHES} keys of one hash")
        return keys
