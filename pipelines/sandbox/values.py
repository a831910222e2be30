"""Plain values between the processes of the sandbox: to a program as they are, and back from it, whom nobody trusts, as
JSON with a tag for types that JSON lacks."""

import marshal
from collections.abc import Callable
from typing import Any

from arctic_errors import ArcticError

Plain = Any
"""None, bool, int, float, complex, str, bytes, and list, tuple, dict, set, frozenset of such."""
MAX_HASHED = 20_000
"""Keys of one dict or set."""
MAX_HASH_WORK = MAX_HASHED**2
"""Comparisons of a reader whose dicts and sets have colliding keys, all of them together: some seconds. A forged reply
can make them collide."""
MAX_ELEMENTS = 1_000_000
"""Items of all lists, tuples, dicts and sets of one value together, which bounds the reader's memory."""
DIGITS_PER_ELEMENT = 16
"""Hexadecimal digits that count as another element: the work of comparing long integers."""
JSON_INT_BITS = 1024
"""Longer integers travel as hexadecimal digits: decimal ones cost the square of their number, and Python refuses them
beyond 4,300."""
MARSHAL_VERSION = 2
"""The last that repeats a value for each of its places, so that none is shared between two arguments."""
SAME_IN_JSON = frozenset({type(None), bool, str, float})
SAME_OUT_OF_JSON = SAME_IN_JSON | {int}


class PlainError(ArcticError, ValueError):
    """A value that is not plain, with the reason."""


class TooLargeError(PlainError):
    """A value that costs its reader too much."""


def pack(value: Plain) -> bytes:
    """`value` for a process that trusts this one: many times as fast as JSON. `marshal.loads` is the way back.

    Raises:
        PlainError: some part is of another type, or nested too deeply.
    """
    try:
        return marshal.dumps(value, MARSHAL_VERSION)
    except ValueError as error:
        raise PlainError(f"not plain: {error}") from None


def encode(value: object) -> Plain:
    """The JSON form of `value`, types included; a subclass of a plain type is not plain.

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
        PlainError: nothing that `encode` makes, or (TooLargeError) something that costs too much to make.
    """
    try:
        return _Decoder().value(tagged)
    except RecursionError:
        raise PlainError("nested too deeply") from None
    except PlainError:
        raise
    except (TypeError, ValueError, KeyError) as error:
        raise PlainError(f"not an encoded value: {error}") from None


def _encode(value: object) -> Plain:
    kind = type(value)
    if value is None or kind in (bool, str, float):
        return value
    if kind is list:
        return value if _is_json(value) else [_encode(item) for item in value]  # type: ignore[arg-type, attr-defined]
    if kind is int:
        return value if value.bit_length() <= JSON_INT_BITS else {"int": hex(value)}  # type: ignore[attr-defined, arg-type]
    if kind not in ENCODERS:
        raise PlainError(f"a value of type {kind.__name__}, which is not plain")
    return {kind.__name__: ENCODERS[kind](value)}


def _is_json(items: list[object]) -> bool:
    """Whether JSON keeps `items` as they are, as far as their types show at once."""
    kinds = set(map(type, items))
    if int in kinds and kinds <= {int, bool}:
        return max(map(int.bit_length, items)) <= JSON_INT_BITS  # type: ignore[arg-type]
    return kinds <= SAME_IN_JSON


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
    """Makes one value, and sums the cost of all its parts."""

    def __init__(self) -> None:
        self._elements = self._hash_work = 0
        self._makers: dict[str, Callable[[Plain], Plain]] = {
            "int": self._int,
            "tuple": lambda content: tuple(self._items(content)),
            "dict": self._dict,
            "set": lambda content: set(self._keys(content)),
            "frozenset": lambda content: frozenset(self._keys(content)),
            "bytes": bytes.fromhex,
            "complex": _complex,
        }

    def value(self, tagged: Plain) -> Plain:
        if isinstance(tagged, list):
            return self._items(tagged)
        if not isinstance(tagged, dict):
            return tagged
        ((kind, content),) = tagged.items()
        return self._makers[kind](content)

    def _items(self, content: Plain) -> list[Plain]:
        self._spend(len(content))
        if SAME_OUT_OF_JSON.issuperset(map(type, content)):
            return list(content)
        return [self.value(item) for item in content]

    def _keys(self, content: Plain) -> list[Plain]:
        """Items that are about to be hashed, and compared with each other if their hashes are equal."""
        before, count = self._elements, len(content)
        if count > MAX_HASHED:
            raise TooLargeError(f"{count} elements, more than {MAX_HASHED}")
        keys = self._items(content)
        self._hash_work += count * (self._elements - before)
        if self._hash_work > MAX_HASH_WORK:
            raise TooLargeError("more keys of sets and dicts than can be compared in time")
        return keys

    def _dict(self, content: Plain) -> Plain:
        keys, values = content
        return dict(zip(self._keys(keys), self._items(values), strict=True))

    def _int(self, content: Plain) -> int:
        self._spend(len(content) // DIGITS_PER_ELEMENT)
        return int(content, 16)

    def _spend(self, elements: int) -> None:
        self._elements += elements
        if self._elements > MAX_ELEMENTS:
            raise TooLargeError(f"more than {MAX_ELEMENTS} elements")


def _complex(content: Plain) -> complex:
    real, imag = content
    return complex(float(real), float(imag))
