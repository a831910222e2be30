"""Values in the shapes that MLflow takes: flat params, legal names, bounded texts. Pure functions."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from infra.artifact import Manifest
from infra.context import Event
from infra.store.integrity import require_intact

Item = TypeVar("Item")

# Limits of mlflow/utils/validation.py (3.17).
MAX_PARAM_CHARACTERS = 6000
MAX_TAG_CHARACTERS = 8000
MAX_NAME_CHARACTERS = 250
MAX_SCHEMA_CHARACTERS = 60_000
"""Of a dataset: a text column of MySQL takes 65,535 bytes."""
COLUMN_TYPES = {
    "bool": "boolean",
    **dict.fromkeys(("int8", "int16", "int32"), "integer"),
    "int64": "long",
    "float": "float",
    "double": "double",
}
"""MLflow's names of Arrow's types; it has none for nested ones."""
MAX_PARAMS = 300
"""Our own limit: longer tables of params help nobody, and the manifest has them all."""
MAX_TABLE_ROWS = 1000
"""Our own limit: MLflow loads a table whole to show it."""


def flatten(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested plain data as (dotted name, text) pairs; list items count from 1, as in messages about recipes."""
    leaves = [leaf for name, value in params.items() for leaf in _leaves(value, name)]
    return [(legal_name(name), shorten(text, MAX_PARAM_CHARACTERS)) for name, text in leaves[:MAX_PARAMS]]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}")
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list) for item in value):
        for number, item in enumerate(value, start=1):
            yield from _leaves(item, f"{name}.{number}")
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)


def legal_name(name: str) -> str:
    """`name` as MLflow takes it, who may store it as a path: no `..`, no empty parts, little punctuation."""
    parts = re.sub(r"[^\w.\-/: ]", "_", name)[:MAX_NAME_CHARACTERS].split("/")
    return "/".join(part for part in parts if part.strip(".")) or "_"


def split_table(parquet: Path) -> str:
    """A table as MLflow reads it (JSON, columns and rows): every k-th row, for the smallest k that leaves at most
    MAX_TABLE_ROWS."""
    require_intact(parquet)
    table = pq.read_table(parquet)
    stride = -(-table.num_rows // MAX_TABLE_ROWS) or 1
    table = table.take(pa.array(range(0, table.num_rows, stride), pa.int64()))
    rows = [list(row.values()) for row in table.to_pylist()]
    return json.dumps({"columns": table.column_names, "data": rows}, ensure_ascii=False, default=str)


def table_schema(folder: Path, manifest: Manifest) -> str | None:
    """Columns of the first Parquet file of a result as MLflow's schema (JSON), None if it has no table."""
    tables = sorted(entry.path for entry in manifest.files if entry.path.endswith(".parquet"))
    if not tables or not (folder / tables[0]).is_file():
        return None
    columns = [
        {"type": COLUMN_TYPES.get(str(field.type), "string"), "name": field.name, "required": not field.nullable}
        for field in pq.read_schema(folder / tables[0])
    ]
    return shorten_columns(columns)


def shorten_columns(columns: list[dict[str, Any]]) -> str:
    """As many of the columns, as JSON, as MLflow can store."""
    shown = len(columns)
    while len(text := json.dumps({"mlflow_colspec": columns[:shown]})) > MAX_SCHEMA_CHARACTERS:
        shown -= 1
    return text


def parent_metric(stage: str, subject: str, metric: str) -> str:
    """Name on the whole run of a stage's metric. MLflow groups charts by the part of a name before the last slash, so
    corpora share their stage's group, and phases and steps within them ("1.400"), which are points of one curve, their
    metric's own."""
    if re.fullmatch(r"\d+(\.\d+)?", subject):
        return metric if "/" in metric else f"{stage}/final_{metric}"
    own = metric.removeprefix("data/").removeprefix("eval/")
    return f"{stage}/{subject}.{own}" if subject else f"{stage}/{own}"


def shorten(text: str, limit: int = MAX_TAG_CHARACTERS) -> str:
    """`text`, its end replaced by an ellipsis if it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """`items` in order, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def outcomes(events: Iterable[Event]) -> dict[str, str]:
    """The outcome of each stage, in a word or two."""
    words = {}
    for event in events:
        match event["event"]:
            case "stage_reused":
                words[event["stage"]] = "reused"
            case "stage_finished":
                words[event["stage"]] = f"{event['seconds']:,.0f} s"
            case "stage_failed":
                words[event["stage"]] = "failed"
            case "stage_skipped":
                words[event["stage"]] = f"skipped: {event['because']}"
    return words


def plan_table(stages: Sequence[Mapping[str, Any]], outcomes: Mapping[str, str]) -> str:
    """The plan as a Markdown table, with the outcome of each stage; whole rows are left out if it grows too long."""
    head = "| | stage | plan | result | why | key |\n|---|---|---|---|---|---|"
    rows = [
        f"| {number:02d} | {stage['id']} | {stage['action']} | {outcomes.get(stage['id'], '')} "
        f"| {stage['reason'].replace('|', '/')} | `{stage['key']}` |"
        for number, stage in enumerate(stages, start=1)
    ]
    shown = len(rows)
    while len("\n".join([head, *rows[:shown]])) > MAX_TAG_CHARACTERS - 100:
        shown -= 1
    rest = [f"\n{len(rows) - shown} more stages: see recipe.json."] if shown < len(rows) else []
    return "\n".join([head, *rows[:shown], *rest])
