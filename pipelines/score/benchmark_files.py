"""Evaluation files as texts, with item and field."""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

SUFFIXES = (".jsonl", ".json", ".tsv", ".parquet")


class BenchmarkText(NamedTuple):
    """One field of one item, numbered from 0 in the order of the file."""

    item: int
    field: str
    text: str


def read_benchmark(path: Path, fields: Sequence[str]) -> Iterator[BenchmarkText]:
    """The texts of `fields` of every item in the evaluation file at `path`.

    Lists of strings are joined by line breaks; an empty field is passed over. Raises ValueError, naming file, item and
    field, if it holds anything else.
    """
    for number, item in enumerate(_items(path)):
        for field in fields:
            text = _text(item, field, f"{path}: item {number}")
            if text.strip():
                yield BenchmarkText(number, field, text)


def _items(path: Path) -> Iterable[Any]:
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".parquet":
        return (row for batch in pq.ParquetFile(path).iter_batches() for row in batch.to_pylist())
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = data.decode("utf-8-sig")
    match plain.suffix:
        case ".jsonl":
            return (json.loads(line) for line in text.split("\n") if line.strip())
        case ".tsv":
            return csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
        case ".json":
            items = json.loads(text)
            if not isinstance(items, list):
                raise ValueError(f"{path}: not a list of items. Write one, or a .jsonl file.")
            return items
    raise ValueError(f"{path}: not an evaluation file, whose names end in {', '.join(SUFFIXES)} (.gz). Convert it.")


def _text(item: Any, field: str, item_name: str) -> str:
    value = item
    for name in field.split("."):
        if not isinstance(value, Mapping) or name not in value:
            available = ", ".join(value) if isinstance(value, Mapping) else type(value).__name__
            raise ValueError(f"{item_name}: no field {field!r}; it has {available}. Name one that every item has.")
        value = value[name]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    if value is None or isinstance(value, str):
        return value or ""
    raise ValueError(f"{item_name}: field {field!r} is a {type(value).__name__}, not text. Name a field with text.")
