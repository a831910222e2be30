"""pydantic's errors about a page in the recipe's terms: field in the syntax of `--set`, value and remedy."""

import difflib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from data_recipes.section import BY_NAME, NUMBER, OWN_CLASS, RANGE

Location = tuple[str | int, ...]
BOUNDS = {
    "greater_than": ("above", "gt", "Raise it."),
    "greater_than_equal": ("at least", "ge", "Raise it."),
    "less_than": ("below", "lt", "Lower it."),
    "less_than_equal": ("at most", "le", "Lower it."),
}
"""pydantic's types of error about a bound: the word for it, its name in the error's context, and the remedy."""


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A line for each field of a page of `model` that is wrong."""
    lines: dict[str, str] = {}
    for detail in error.errors():
        location, nearest = _settable(detail["loc"], model)
        # A value that fits no member of a union is reported once for each of them.
        lines.setdefault(f"{location} {detail['type'] == 'value_error'}", _line(detail, location, nearest))
    return [line for text in lines.values() for line in text.splitlines()]


def did_you_mean(name: str, names: Collection[str]) -> str:
    """A question that offers the nearest of the `known` names; "" if none is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {near[0]}?" if near else ""


def _line(detail: Any, field: str, sections: Sequence[type[BaseModel]]) -> str:
    value, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            fields = sorted({field.alias or name for each in sections for name, field in each.model_fields.items()})
            hint = did_you_mean(field.rpartition(".")[2], fields) or f"Known here: {', '.join(fields)}."
            return f"{field} = {value!r}: unknown field. {hint}"
        case "missing":
            return f"{field}: missing. Add it."
        case "value_error":
            return f"{field}.{context['error']}" if field else str(context["error"])
        case "union_tag_invalid":
            kinds = context["expected_tags"].replace(
                f", {OWN_CLASS!r}", " or a class, such as 'my_package.pdf:PdfFiles'"
            )
            return f"{field}.kind = {context['tag']!r}: must be one of {kinds}. Choose one of them."
        case "union_tag_not_found":
            return f"{field}.kind: missing. Add it."
        case "finite_number":
            return f"{field} = {value!r}: must be finite. Change the value."
        case bound if bound in BOUNDS:
            word, name, remedy = BOUNDS[bound]
            return f"{field} = {value!r}: must be {word} {context[name]:g}. {remedy}"
        case _:
            return f"{field} = {value!r}: {detail['msg'][:1].lower()}{detail['msg'][1:]}. Change the value."


def _settable(location: Location, model: type[BaseModel]) -> tuple[str, list[type[BaseModel]]]:
    """The field at `location` as `--set` takes it, and the sections that it is looked for in.

    pydantic adds members of unions to a location; lists count from 1 in a recipe, as people and stages do (train[1]).
    """
    parts: list[str] = []
    annotations: list[Any] = [model]
    around: list[type[BaseModel]] = [model]
    for part in location:
        sections = [section for annotation in annotations for section in _sections(annotation)]
        fields = [section.model_fields[str(part)] for section in sections if part in section.model_fields]
        values = [value for annotation in annotations for value in _values(annotation)]
        if isinstance(part, int):
            parts.append(str(part + 1))
            annotations = values
        elif fields:
            parts.append(part)
            around, annotations = sections, [field.annotation for field in fields]
        elif part == BY_NAME:
            annotations = []
        elif part in (NUMBER, RANGE):
            continue
        elif any(part in _kinds(section) for section in sections):
            annotations = [section for section in sections if part in _kinds(section)]
        elif sections or values:
            parts.append(part)
            around, annotations = sections, values
    return ".".join(parts), around


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a value of this type is one of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) not in (list, dict):
        for argument in get_args(annotation):
            yield from _sections(argument)


def _values(annotation: Any) -> Iterator[Any]:
    """The types of the items of a list, or of the values of a table."""
    if get_origin(annotation) in (list, dict):
        yield get_args(annotation)[-1]
    else:
        for argument in get_args(annotation):
            yield from _values(argument)


def _kinds(section: type[BaseModel]) -> tuple[str, ...]:
    field = section.model_fields.get("kind")
    return (get_args(field.annotation) or (OWN_CLASS,)) if field else ()
