"""The data root: missing, altered or unreadable files are reported with the remedy; only pinned files are stored."""

import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.evaluate.data import fetch as fetching
from pipelines.evaluate.data import files as data
from pipelines.evaluate.data.fetch import fetch
from pipelines.evaluate.data.files import DataFile, checked, content_digest, data_files, read_rows
from pipelines.evaluate.task import DataError
from tests.kit.real_data import REAL_DATA
from tests.kit.servers.web_server import WebServer, running_server, status

REAL = REAL_DATA / "eval"
FILE = "/some/where/abc/data/test.jsonl"
ROWS = [{"question": "What is\u2028here?", "n": 1}, {"question": "naïve", "n": 2}]
QUESTION = {"id": "q1", "query": "Question: Why?\nAnswer:", "choices": ["this", "that"], "gold": 1}
ANSWERED = {
    "id": "q1",
    "question": "Why?",
    "choices": {"text": ["this", "that"], "label": ["A", "B"]},
    "answerKey": "B",
}


def canonical(rows: list[dict]) -> str:
    lines = "".join(json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n" for row in rows)
    return hashlib.sha256(lines.encode()).hexdigest()


PINNED = {
    item.file: item
    for item in (
        DataFile("plain/test.jsonl", canonical(ROWS), 2, "bytes", "github:some/where@abc/data/test.jsonl", "MIT"),
        DataFile(
            "joined/test.jsonl.gz",
            canonical([{"text": "one two"}]),
            1,
            "context_and_continuation",
            "github:some/where@abc/data/pairs.jsonl",
            "MIT",
        ),
        DataFile("streams/dev.jsonl.gz", canonical(ROWS), 2, "arrow", "wheel:package==1/inside/*/dev", "MIT"),
        DataFile("asked/test.jsonl.gz", canonical([ANSWERED]), 1, "requests", "wheel:package==1/asked.gz", "MIT"),
        DataFile("race/test.jsonl", "", 0, "by hand", "from its authors", "non-commercial research"),
    )
}


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (data, fetching):
        monkeypatch.setattr(module, "data_files", lambda: PINNED)
    monkeypatch.setattr(fetching, "BACKOFF_S", 0.0)


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A stand-in for the raw files of GitHub, which fails twice before it answers."""
    with running_server() as server:
        server.files = {
            FILE: "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
            "/some/where/abc/data/pairs.jsonl": json.dumps({"context": "one ", "continuation": "two"}).encode() + b"\n",
        }
        server.script = {FILE: [status(503), status(503)]}
        yield server


def wheel(requirement: str, folder: Path) -> Path:
    path = folder / f"{requirement}.whl"
    with zipfile.ZipFile(path, "w") as package:
        for name, row in zip(("b", "a"), reversed(ROWS), strict=True):
            buffer = io.BytesIO()
            table = pa.Table.from_pylist([row])
            with pa.ipc.new_stream(buffer, table.schema) as stream:
                stream.write_table(table)
            package.writestr(f"inside/{name}/dev/data.arrow", buffer.getvalue())
        twice = "".join(json.dumps({"doc": QUESTION}) + "\n" for _ in range(2))
        package.writestr("asked.gz", gzip.compress(twice.encode()))
    return path


def test_everything_arrives_as_pinned_and_a_second_fetch_asks_nobody(
    pinned: None, server: WebServer, tmp_path: Path
) -> None:
    reported: list[str] = []
    by_hand = fetch(tmp_path, report=reported.append, github=server.url, wheel=wheel)
    assert [item.file for item in by_hand] == ["race/test.jsonl"]
    for name in PINNED.keys() - {"race/test.jsonl"}:
        assert content_digest(checked(tmp_path, name)) == PINNED[name].sha256
    assert read_rows(tmp_path, "plain/test.jsonl") == ROWS
    assert read_rows(tmp_path, "asked/test.jsonl.gz") == [ANSWERED]
    assert "package==1: downloading" in reported

    def nobody(*_: object) -> Path:
        raise AssertionError("asked again")

    fetch(tmp_path, report=reported.append, github="http://127.0.0.1:9", wheel=nobody)


def test_another_content_is_refused_and_nothing_is_kept(pinned: None, server: WebServer, tmp_path: Path) -> None:
    server.files[FILE] += b'{"question": "added"}\n'
    with pytest.raises(DataError, match=r"plain/test.jsonl: .* gives other content"):
        fetch(tmp_path, ["plain/test.jsonl"], github=server.url)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_source_that_is_gone_says_so(pinned: None, server: WebServer, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(DataError, match=r"HTTP 404\. Try again, or bring the file by hand"):
        fetch(tmp_path, ["plain/test.jsonl"], github=server.url)


def test_a_source_that_is_gone_costs_its_own_files_only(pinned: None, server: WebServer, tmp_path: Path) -> None:
    def gone(requirement: str, folder: Path) -> Path:
        raise DataError(f"{requirement}: pip could not download it")

    with pytest.raises(DataError, match=r"^package==1: pip could not download it$"):
        fetch(tmp_path, github=server.url, wheel=gone)
    assert read_rows(tmp_path, "plain/test.jsonl") == ROWS


def test_missing_altered_and_broken_files_are_told_with_their_mend(pinned: None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\. Run: arctic eval-data fetch"):
        checked(tmp_path, "plain/test.jsonl")
    with pytest.raises(DataError, match=r"missing\. Bring it there by hand: from its authors"):
        checked(tmp_path, "race/test.jsonl")
    path = tmp_path / "plain/test.jsonl"
    path.parent.mkdir()
    # the same rows with other spacing are the same content
    path.write_text("".join(json.dumps(row, indent=None, separators=(", ", " : ")) + "\n\n" for row in ROWS))
    assert checked(tmp_path, "plain/test.jsonl") == path
    path.write_text(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(DataError, match="not the pinned version"):
        checked(tmp_path, "plain/test.jsonl")
    path.write_text('{"question": ')
    with pytest.raises(DataError, match="unreadable"):
        checked(tmp_path, "plain/test.jsonl")


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the evaluation data is not on this machine")
def test_real_files_are_as_pinned() -> None:
    names = [name for name, item in data_files().items() if item.sha256 and (REAL / name).is_file()]
    assert len(names) > 20
    for name in names:
        assert checked(REAL, name).is_file()
        if data_files()[name].rows < 2000:
            assert len(read_rows(REAL, name)) == data_files()[name].rows
