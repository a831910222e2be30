"""Runs in the sandbox around a program that a model wrote: loads it, calls it, and makes results plain.

Standard library only: the sandbox executes the text of this module. This code does not withstand the program; a result
is only a claim of the program, and is compared elsewhere.
"""

import hashlib
import marshal
import operator
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

MAX_LENGTH = 100_000
"""Characters and elements of the results in one reply."""
MAX_TEXT = 256
"""Characters of a text, or of a list or tuple of texts, that travel as they are: no text is close to another, and its
digest is shorter and equal to the digest of the same text alone."""
PLAIN = frozenset({type(None), bool, int, float, str})
SEQUENCES = frozenset({str, list, tuple})
EXACT, SCALARS = frozenset({str, int}), frozenset({str, int, float, bool, complex})
_solution = ModuleType("solution")
_NUMPY_SCALAR: type | tuple[()] = getattr(sys.modules.get("numpy"), "generic", ())
"""Type of numpy's numbers, if the sandbox has imported numpy for its programs; else no type at all."""


def load(source: str) -> None:
    """Executes the program."""
    sys.modules["solution"] = _solution
    exec(compile(source, "solution", "exec"), _solution.__dict__)


def call(entry_point: str, view: str, packed: bytes, timed: bool) -> list[Any]:
    """The exception that ended it early, or ""; the part of each result to compare, in the order of the inputs that are
    `packed`; the `digest` instead of it, by position, if that is too long; and if `timed`, CPU seconds of each. Also
    ends early if results together grow too long for one reply.

    The compared part is the "value", a "number" that may be close, a "root" of any type of number, the "elements" if
    any order is right, or the "presence" of any answer, if solutions may answer yes by a truth value or by something
    that is not None. Only a "value" may travel as its digest.
    """
    values: list[Any] = []
    digests: dict[int, str] = {}
    seconds: list[float] = []
    error, length = "", 0
    for arguments in marshal.loads(packed):
        began_s = time.process_time() if timed else 0.0
        try:
            value, short, size = _seen(view, _solution.__dict__[entry_point](*arguments))
        except BaseException as raised:
            error = f"{type(raised).__name__}: {raised}"
            break
        if timed:
            seconds.append(time.process_time() - began_s)
        if short is not None:
            digests[len(values)] = short
        values.append(value)
        length += size
        if length > MAX_LENGTH:
            break
    return [error, values, digests, seconds]


def digest(result: Any) -> str | None:
    """Of a text, or a list or tuple of numbers, texts and lists or tuples of such: the same for two results exactly if
    they are equal, as 1, 1.0, True and 1+0j are. None for any other, and if a number equals nothing (nan)."""
    if type(result) not in (str, list, tuple):
        return None
    is_flat = isinstance(result, str) or not {list, tuple} & set(map(type, result))
    content = hashlib.sha256(b"flat" if is_flat else b"grouped")
    for group in [result] if is_flat else result:
        kind = type(group)
        parts: Any = group if kind in (list, tuple) else (group,)
        if not EXACT.issuperset(map(type, parts)):
            if not SCALARS.issuperset(map(type, parts)) or any(map(operator.ne, parts, parts)):
                return None
            parts = list(map(_exact, parts))
            if complex in set(map(type, parts)):
                return None
        # The marshal version that ignores how texts are stored.
        content.update(marshal.dumps((kind.__name__ if kind in (list, tuple) else "", *parts), 0))
    return f"{type(result).__name__} of {len(result)}, sha256 {content.hexdigest()}"


def _exact(part: Any) -> Any:
    """Of all values that are equal to a text or number always the same one; complex only if no other is equal."""
    if type(part) is str:
        return part
    if type(part) is complex:
        if part.imag:
            return part
        part = part.real
    return int(part) if part == part // 1 else part


def _seen(view: str, result: Any) -> tuple[Any, str | None, int]:
    """The part of a result to compare, or nothing and its digest; and the length of that. Long results are replaced by
    it: one of Mbpp/255 has 1.7 million tuples of 77 texts. Floats alone are not, since they need not be equal to be
    right."""
    if view == "value" and type(result) in SEQUENCES:
        kinds: set[type] = {str} if type(result) is str else set(map(type, result))
        length = _length(result, kinds)
        if length > MAX_LENGTH or (length > MAX_TEXT and kinds == {str}):
            short = None if kinds == {float} else digest(result)
            if short is not None:
                return None, short, len(short)
        return VIEWS[view](result), None, length
    value = VIEWS[view](result)
    return value, None, _length(value, set(map(type, value))) if type(value) in SEQUENCES else 1


def _length(result: str | list[Any] | tuple[Any, ...], kinds: set[type]) -> int:
    """Characters and elements of a sequence whose elements are of these types."""
    if isinstance(result, str) or not kinds & SEQUENCES:
        return len(result)
    if kinds <= SEQUENCES:
        return sum(map(len, result))
    return sum([len(item) if type(item) in SEQUENCES else 1 for item in result])


def _plain(value: Any) -> Any:
    """Instances of subclasses (Counter, named tuples, IntEnum), and numbers of numpy, as the plain values that they are
    equal to."""
    if type(value) in PLAIN:
        return value
    for kind, make in _MAKERS:
        if isinstance(value, kind):
            return make(value)
    return value


def _plain_items(items: Iterator[Any]) -> list[Any]:
    """Always a new list: the program may change its own."""
    copied = list(items)
    return copied if PLAIN.issuperset(map(type, copied)) else list(map(_plain, copied))


def _typed(value: Any) -> Any:
    """As `_plain`, but a float of numpy is close to no other number: EvalPlus wants it equal, or of the same type. A
    complex number equals the same values."""
    plain = _plain(value)
    return complex(plain) if type(plain) is float and isinstance(value, _NUMPY_SCALAR) else plain


_MAKERS: tuple[tuple[type | tuple[()], Callable[[Any], Any]], ...] = (
    (_NUMPY_SCALAR, lambda value: value.item()),
    (list, lambda value: _plain_items(list.__iter__(value))),
    (tuple, lambda value: tuple(_plain_items(tuple.__iter__(value)))),
    (dict, lambda value: {_plain(key): _plain(item) for key, item in dict.items(value)}),
    (set, lambda value: {_plain(item) for item in set.__iter__(value)}),
    (frozenset, lambda value: frozenset([_plain(item) for item in frozenset.__iter__(value)])),
    (int, int.__int__),
    (float, float.__float__),
    (str, str.__str__),
)
GATHERED = (list, tuple, set, frozenset, dict, str)
"""Whose type a comparison of their elements may ask for; anything else that can be gone through is a list of them."""
VIEWS: dict[str, Callable[[Any], Any]] = {
    "value": _typed,
    "number": _typed,
    "root": _plain,
    "elements": lambda result: _plain(result if isinstance(result, GATHERED) else list(result)),
    "presence": lambda result: result if isinstance(result, bool) else result is not None,
}
