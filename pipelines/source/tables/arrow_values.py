"""Arrow columns as plain values, one by one: a value that Python cannot hold costs itself, and none becomes another.

Times become ISO 8601 here and not by way of `datetime`: its range is smaller than Arrow's, and whether it knows a time
zone or a nanosecond depends on the machine. A time with a zone is stored as an instant, and is written in UTC.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa

NANOS = 10**9
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": NANOS}
_DAY_S = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
_UINT64 = 2**64
FAULTS = (ValueError, OverflowError, LookupError, TypeError, NotImplementedError, RecursionError, pa.ArrowException)
"""Errors that a value alone can cause as it is read."""


@dataclass(frozen=True)
class Unreadable:
    """Placeholder for a value that cannot be read."""

    reason: str


def plain_values(array: pa.Array) -> list[Any]:
    """The values of `array` as Python's own, times as text in ISO 8601, or Unreadable."""
    try:
        return _convert(array)
    except FAULTS:
        return [_convert_one(array.slice(index, 1)) for index in range(len(array))]


def exact_int96(wrapped: pa.Array, seconds: Iterator[int | None]) -> list[Any]:
    """Text or Unreadable for timestamps that were stored as INT96, of which Arrow gives nanoseconds modulo 2**64
    (`wrapped`, which nothing shows) or whole seconds: the two together are exact."""
    nanos = wrapped.cast(pa.int64()).to_pylist()
    return [
        None if value is None or second is None else _attempt(partial(_of_int96, value, second))
        for value, second in zip(nanos, islice(seconds, len(nanos)), strict=True)
    ]


def _of_int96(nanos: int, second: int) -> str:
    part = (nanos - second * NANOS) % _UINT64
    if part >= NANOS:
        raise ValueError("an INT96 timestamp of more than a day within its day")
    return timestamp_text(second * NANOS + part, "ns", False)


def timestamp_text(value: int, unit: str, is_utc: bool) -> str:
    """ISO 8601 for a count of `unit` since 1970. Raises ValueError outside of the years 1 to 9999."""
    seconds, part = divmod(value, _UNITS[unit])
    days, second = divmod(seconds, _DAY_S)
    return f"{_date_text(days)}T{_time_text(second, part, unit)}{'+00:00' if is_utc else ''}"


def _date_text(days: int) -> str:
    try:
        return date.fromordinal(_EPOCH + days).isoformat()
    except (ValueError, OverflowError):
        raise ValueError(f"a date {days:,} days from 1970, outside of the years 1 to 9999") from None


def _time_text(second: int, part: int, unit: str) -> str:
    """Time of day with the digits of a second that `datetime` writes, or nine."""
    nanos = part * (NANOS // _UNITS[unit])
    fraction = "" if not nanos else f".{nanos:09d}" if nanos % 1000 else f".{nanos // 1000:06d}"
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{fraction}"


def _time_of_day(value: int, unit: str) -> str:
    second, part = divmod(value, _UNITS[unit])
    if not 0 <= second < _DAY_S:
        raise ValueError(f"a time of day {second} seconds after midnight")
    return _time_text(second, part, unit)


def _convert(array: pa.Array) -> list[Any]:
    kind = array.type
    if isinstance(array, pa.DictionaryArray):
        return _convert(array.dictionary_decode())
    if pa.types.is_timestamp(kind):
        return _each(array.view(pa.int64()), lambda value: timestamp_text(value, kind.unit, kind.tz is not None))
    if pa.types.is_date32(kind):
        return _each(array.view(pa.int32()), _date_text)
    if pa.types.is_date64(kind):
        return _each(array.view(pa.int64()), lambda value: _date_text(value // (_DAY_S * 1000)))
    if pa.types.is_time32(kind) or pa.types.is_time64(kind):
        whole = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        return _each(array.view(whole), lambda value: _time_of_day(value, kind.unit))
    if _is_bytes(kind):
        return _each(array, _utf8)
    values: list[Any] = array.to_pylist()
    return values


def _is_bytes(kind: pa.DataType) -> bool:
    tests: Sequence[Callable[[pa.DataType], bool]] = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(test(kind) for test in tests)


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{len(value)} bytes that are not UTF-8, from byte {error.start} on") from None


def _each(array: pa.Array, text: Callable[[Any], str]) -> list[Any]:
    return [None if value is None else text(value) for value in array.to_pylist()]


def _convert_one(array: pa.Array) -> Any:
    return _attempt(lambda: _convert(array)[0])


def _attempt(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except UnicodeDecodeError as error:
        return Unreadable(f"text that is not UTF-8, from byte {error.start} on")
    except FAULTS as error:
        return Unreadable(str(error).partition("\n")[0] or type(error).__name__)
