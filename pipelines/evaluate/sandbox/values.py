"""Plain values as JSON, with a tag where JSON has no type of its own."""

from collections.abc import Callable
from typing import Any

Plain = Any
"""None, bool, int, float, complex, str, bytes, and list, tuple, dict, set, frozenset of such."""
MAX_HASHED = 20_000
"""Keys of one dict or set: a forged reply whose keys all collide costs the reader the square of it, some seconds."""
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
        return _decode(tagged)
    except RecursionError:
        raise PlainError("nested too deeply") from None
    except (TypeError, ValueError, KeyError) as error:
        raise PlainError(f"not an encoded value: {error}") from None


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


def _decode(tagged: Plain) -> Plain:
    if isinstance(tagged, list):
        return [_decode(item) for item in tagged]
    if not isinstance(tagged, dict):
        return tagged
    ((kind, content),) = tagged.items()
    return DECODERS[kind](content)


def _unique(content: Plain) -> list[Plain]:
    if len(content) > MAX_HASHED:
        raise PlainError(f"{len(content)} elements, more than {MAX_HASHED}")
    return [_decode(item) for item in content]


def _dict(content: Plain) -> Plain:
    keys, values = content
    return dict(zip(_unique(keys), [_decode(item) for item in values], strict=True))


def _complex(content: Plain) -> complex:
    real, imag = content
    return complex(float(real), float(imag))


DECODERS: dict[str, Callable[[Plain], Plain]] = {
    "int": lambda content: int(content, 16),
    "tuple": lambda content: tuple(_decode(item) for item in content),
    "dict": _dict,
    "set": lambda content: set(_unique(content)),
    "frozenset": lambda content: frozenset(_unique(content)),
    "bytes": bytes.fromhex,
    "complex": _complex,
}
