"""Documents that stand as rows in JSON Lines and Parquet files, which is how datasets are published."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_recipes.inputs import TableInput
from data_recipes.section import RecipeError
from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.places import (
    FileType,
    LocalFile,
    PlacedFile,
    find_files,
    lose_file,
    pin_files,
    pinned_files,
    read_file,
)
from pipelines.source.reading import Reading
from pipelines.source.rows import (
    BadRow,
    BrokenFileError,
    Reader,
    Row,
    read_json_lines,
    read_parquet_rows,
    require_columns,
)

FILES: Mapping[str, FileType] = {
    "jsonl": FileType(
        "JSON Lines file",
        tuple(f".{name}{packed}" for name in ("jsonl", "ndjson", "json") for packed in ("", ".gz", ".zst")),
    ),
    "parquet": FileType("Parquet file", (".parquet",)),
}
READERS: Mapping[str, Reader] = {"jsonl": read_json_lines, "parquet": read_parquet_rows}


@dataclass(frozen=True)
class TableFile:
    """A file of rows with what fixes its content."""

    file: PlacedFile
    pinned: Any
    section: TableInput

    def read(self, reading: Reading) -> None:
        read_file(self.file, self.pinned, reading, partial(self._read_rows, reading))

    def _read_rows(self, reading: Reading, path: Path) -> None:
        try:
            for row in READERS[self.section.kind](path, wanted_fields(self.section)):
                take_row(row, self.section, self.file.name, reading)
        except BrokenFileError as error:
            lose_file(reading, self.file.name, str(error))


def pin(item: TableInput, folder: Path) -> dict[str, Any]:
    """What fixes each file, by its name. Raises RecipeError, also where a Parquet file here has not the columns."""
    wanted = FILES[item.kind]
    if item.kind == "parquet":
        for file in find_files(item.paths, folder, wanted):
            _require_columns(file, item)
    return {"files": pin_files(item.paths, folder, wanted)}


def parts(item: TableInput, pinned: Mapping[str, Any], folder: Path) -> Iterator[TableFile]:
    """One shard a file, by name."""
    for file, pin_of_file in pinned_files(item.paths, folder, FILES[item.kind], pinned["files"]):
        yield TableFile(file, pin_of_file, item)


def wanted_fields(section: TableInput) -> list[str]:
    """Names of the fields that are read, each once."""
    named = (section.text_field, section.url_field, section.date_field, section.licence_field, section.id_field)
    return list(dict.fromkeys(name for name in named if name is not None))


def take_row(row: Row | BadRow, section: TableInput, origin: str, reading: Reading) -> None:
    """Keep, skip or quarantine one row of the file that is known as `origin`."""
    place = f"{origin}#{row.number}"
    if isinstance(row, BadRow):
        reading.quarantine(place, row.reason)
        return
    text = row.values.get(section.text_field)
    if text is not None and not isinstance(text, str):
        reading.quarantine(place, f"{section.text_field} is no text, but {type(text).__name__}")
    elif section.text_field not in row.values:
        reading.quarantine(place, f"no field {section.text_field!r}")
    elif not text or text.isspace():
        reading.skip("no_text")
    else:
        try:
            reading.keep(_document(text, row, section, origin, reading.heldout_fraction))
        except UnicodeEncodeError as error:
            # JSON can escape halves of a character, which no encoding has.
            reading.quarantine(place, f"undecodable text: {error.reason} at character {error.start}")


def _document(text: str, row: Row, section: TableInput, origin: str, heldout_fraction: float) -> Document:
    """Raises UnicodeEncodeError where a field is no text that can be stored."""

    def told(field: str | None) -> str | None:
        value = _as_text(row.values.get(field)) if field else None
        return (value or "").encode().decode() or None

    url, row_id = told(section.url_field) or f"{origin}#{row.number}", told(section.id_field)
    return Document(
        text=text.encode().decode(),
        url=url,
        origin=origin,
        split=draw_split(url, heldout_fraction),
        offset=row.number,
        date=told(section.date_field),
        licence=told(section.licence_field),
        attributes=json.dumps({"id": row_id}, ensure_ascii=False) if row_id else None,
    )


def _as_text(value: Any) -> str | None:
    """A field as the metadata's own words: text as it is, dates in ISO 8601, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value or None
    return value.isoformat() if isinstance(value, date) else json.dumps(value, ensure_ascii=False, default=str)


def _require_columns(file: PlacedFile, item: TableInput) -> None:
    if isinstance(file, LocalFile):
        try:
            require_columns(pq.read_schema(file.path).names, wanted_fields(item))
        except (BrokenFileError, OSError, ValueError) as error:
            raise RecipeError(f"paths: {file.path}: {error}. Correct the fields or the file.") from None
