"""The data root: evaluation files that the user has, checked against their digests before anything is scored with them.

`data_files.tsv` names every file with the sha256 of its content, its number of rows, its public source and licence. The
project ships none of them; `fetch` downloads those that have a public address.
"""

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infra.store import file_digest
from pipelines.evaluate.task import DataError

PINS = Path(__file__).with_name("data_files.tsv")
BY_HAND = "by hand"
"""The `form` of a file without a direct address: `origin` names the page where its owner distributes it."""


@dataclass(frozen=True)
class DataFile:
    """One file of the data root. `sha256`: see `content_digest`, "" if every copy differs; `form`: how `origin`
    becomes this file (see `pipelines.evaluate.data.fetch`)."""

    file: str
    sha256: str
    rows: int
    form: str
    origin: str
    licence: str


@cache
def data_files() -> dict[str, DataFile]:
    """All files that tasks read, by name."""
    with PINS.open(encoding="utf-8", newline="") as stream:
        (_, *rows) = csv.reader(stream, delimiter="\t")
    return {
        file: DataFile(file, sha256, int(num_rows), form, origin, licence)
        for file, sha256, num_rows, form, origin, licence in rows
    }


def checked(root: Path, name: str) -> Path:
    """The file `name` of the data root. Raises DataError if it is missing or not as pinned."""
    data_file, path = data_files()[name], root / name
    if not path.is_file():
        raise DataError(f"{path}: missing. {_mend(data_file, root)}")
    if data_file.sha256 and _digest_of(path, path.stat().st_mtime_ns, path.stat().st_size) != data_file.sha256:
        raise DataError(f"{path}: not the pinned version, sha256 {data_file.sha256[:12]}. {_mend(data_file, root)}")
    return path


def state_of(root: Path, data_file: DataFile) -> str:
    """Whether a file is in the data root as it must be: "ready", "missing" or "other version"."""
    path = root / data_file.file
    if not path.is_file():
        return "missing, by hand" if data_file.form == BY_HAND else "missing"
    return "ready" if not data_file.sha256 or content_digest(path) == data_file.sha256 else "other version"


def read_rows(root: Path, name: str) -> list[Any]:
    """The rows of a JSON or JSON Lines file of the data root, checked as in `checked`."""
    return list(rows_of(checked(root, name)))


def rows_of(path: Path) -> Iterator[Any]:
    """The rows of a .json, .jsonl or .jsonl.gz file."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    if ".jsonl" in path.suffixes:
        # Not splitlines: JSON strings may hold the line separators of Unicode.
        return (json.loads(line) for line in text.split("\n") if line.strip())
    return iter(json.loads(text))


def content_digest(path: Path) -> str:
    """sha256 of the content of a file: of its rows in canonical JSON, independent of compression and spacing; of its
    bytes if it is not JSON."""
    if not {".json", ".jsonl"} & set(path.suffixes):
        return file_digest(path)
    digest = hashlib.sha256()
    for row in rows_of(path):
        digest.update(json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def missing(root: Path, names: Sequence[str]) -> list[str]:
    """Those of `names` that the data root does not have."""
    return [name for name in names if not (root / name).is_file()]


@cache
def _digest_of(path: Path, _modified_ns: int, _num_bytes: int) -> str:
    try:
        return content_digest(path)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: unreadable ({error}). Delete it and fetch it again.") from error


def _mend(data_file: DataFile, root: Path) -> str:
    if data_file.form == BY_HAND:
        return f"Bring it there by hand: {data_file.origin} ({data_file.licence})."
    return f"Run: arctic eval-data fetch --root {root}"
