"""The answer of a model as a JSON object: its schema, and whether one fits it."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from arctic_errors import ArcticError

_JSON_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "string", "strings": "array"}
_ARROW_TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.large_string(),
    "strings": pa.list_(pa.large_string()),
}
_LARGEST = 2**63


class AnswerField(Protocol):
    """One value of an answer; see `AnswerFieldSection`."""

    @property
    def type(self) -> str: ...
    @property
    def choices(self) -> Sequence[str]: ...
    @property
    def minimum(self) -> float | None: ...
    @property
    def maximum(self) -> float | None: ...
    @property
    def description(self) -> str: ...


class AnswerError(ArcticError, ValueError):
    """An answer does not fit: the reason."""


def answer_schema(fields: Mapping[str, AnswerField]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of an answer."""
    return {
        "type": "object",
        "properties": {name: _field_schema(field) for name, field in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }


def arrow_type(fields: Mapping[str, AnswerField]) -> pa.StructType:
    """The type of the column `labels`."""
    return pa.struct([pa.field(name, _ARROW_TYPES[field.type]) for name, field in fields.items()])


def parse_answer(text: str, fields: Mapping[str, AnswerField]) -> dict[str, Any]:
    """The values of an answer: the first JSON object in `text`, which may be between other words. Raises AnswerError.

    >>> from data_recipes.sections.annotation import AnswerFieldSection
    >>> parse_answer('Sure: {"score": 3}.', {"score": AnswerFieldSection(type="integer", maximum=5)})
    {'score': 3}
    """
    content = _first_object(text)
    for name, field in fields.items():
        if name not in content:
            raise AnswerError(f"no value {name!r}")
        if problem := _problem(content[name], field):
            raise AnswerError(f"{name}: {problem}")
    return {name: content[name] for name in fields}


def _field_schema(field: AnswerField) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _JSON_TYPES[field.type]}
    text: dict[str, Any] = {"enum": list(field.choices)} if field.choices else {}
    if field.type == "strings":
        schema["items"] = {"type": "string", **text}
    else:
        schema |= text
    for name in ("minimum", "maximum", "description"):
        if (value := getattr(field, name)) not in (None, ""):
            schema[name] = value
    return schema


def _first_object(text: str) -> dict[str, Any]:
    start = text.find("{")
    if start < 0:
        raise AnswerError("no JSON object")
    try:
        content, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"no JSON: {error}") from None
    # Text that begins with a brace is parsed as an object.
    return dict(content)


def _problem(value: Any, field: AnswerField) -> str:
    """The reason why `value` does not fit; empty if it does."""
    if field.type == "strings":
        if not isinstance(value, list):
            return f"no list, but {_kind(value)}"
        return next((problem for item in value if (problem := _text_problem(item, field))), "")
    if field.type == "string":
        return _text_problem(value, field)
    if field.type == "boolean":
        return "" if isinstance(value, bool) else f"not true or false, but {_kind(value)}"
    return _number_problem(value, field)


def _number_problem(value: Any, field: AnswerField) -> str:
    is_number = isinstance(value, int) or (field.type == "number" and isinstance(value, float))
    if isinstance(value, bool) or not is_number:
        return f"no {field.type}, but {_kind(value)}"
    number = float(value) if abs(value) < _LARGEST else math.inf
    if not math.isfinite(number):
        return f"{str(value)[:80]} is no number that can be stored"
    if field.minimum is not None and number < field.minimum:
        return f"{value} is less than {field.minimum:g}"
    return f"{value} is more than {field.maximum:g}" if field.maximum is not None and number > field.maximum else ""


def _text_problem(value: Any, field: AnswerField) -> str:
    if not isinstance(value, str):
        return f"no string, but {_kind(value)}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "half a character, which cannot be stored"
    return f"{value[:80]!r} is none of the choices" if field.choices and value not in field.choices else ""


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
