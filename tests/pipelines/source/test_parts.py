"""Large files are read in parts: together they give the same result as the whole file, and each is checked by its own
bytes."""

import gzip
import io
import json
import random
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.artifacts.documents import Document
from pipelines.source.chat.chat_files import Chats
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io import blocks
from pipelines.source.io.http_client import ChangedError
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputKind
from pipelines.source.tables import rows
from pipelines.source.tables.table_files import Tables
from pipelines.source.web.warc import records
from pipelines.source.web.warc_files import WarcFiles
from tests.kit.documents import Collected

WARC_FILE = WarcFiles(kind="warc", paths=["a.warc"])
WORDS = ["river", "stone", "harbour", "lantern", "meadow", "thunder", "copper", "willow"]


def split(kind: InputKind, folder: Path, block_bytes: int, monkeypatch) -> list:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr("pipelines.source.io.local_files.BLOCK_BYTES", block_bytes)
    location = InputFolder(folder)
    pinned = json.loads(json.dumps(kind.fingerprint(location)))
    return list(kind.splits(pinned, InputFolder(folder)))


def read(splits: list, folder: Path) -> tuple[list[Document], list[dict[str, str]]]:
    """Documents and quarantined records of all splits, in their order."""
    target = Collected()
    sink = DocumentSink(folder, "all_text", 0.2, target)
    for each in splits:
        each.reader.read(sink)
    return target.documents, sink.quarantined


def require_parts_equal_whole(kind: InputKind, folder: Path, block_bytes: int, monkeypatch) -> int:
    whole = read(split(kind, folder, 2**40, monkeypatch), folder)
    parts = split(kind, folder, block_bytes, monkeypatch)
    assert read(parts, folder) == whole
    return len(parts)


def sentence(rng: random.Random, length: int) -> str:
    return " ".join(rng.choices(WORDS, k=length))


@given(
    lines=st.lists(
        st.one_of(
            st.text(max_size=300).map(lambda text: json.dumps({"text": text}, ensure_ascii=False)),
            st.sampled_from(["", "  ", "{", '{"text": 1}', '{"other": "a"}', "\r", '\ufeff{"text": "b"}']),
        ),
        min_size=1,
        max_size=60,
    ),
    end=st.sampled_from(["", "\n", "\n\n"]),
    block_bytes=st.integers(16, 400),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_of_any_length_are_read_once_and_keep_their_numbers(tmp_path, monkeypatch, lines, end, block_bytes):
    (tmp_path / "a.jsonl").write_bytes(("\n".join(lines) + end).encode("utf-8", "surrogatepass"))
    require_parts_equal_whole(Tables(kind="jsonl", paths=["a.jsonl"]), tmp_path, block_bytes, monkeypatch)


def test_a_line_longer_than_several_parts_is_set_aside_once(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 500)
    lines = [{"text": "a" * size} for size in (10, 2_000, 10, 700, 10)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert require_parts_equal_whole(Tables(kind="jsonl", paths=["a.jsonl"]), tmp_path, 200, monkeypatch) == 14


@pytest.mark.parametrize("row_group_size", [1, 7, 100, 1000])
def test_row_groups_are_read_once_and_rows_keep_their_numbers(tmp_path, monkeypatch, row_group_size):
    rng = random.Random(3)
    texts = [sentence(rng, rng.randint(0, 60)) for _ in range(500)]
    times = pa.array([datetime(2000 + n % 300, 1, 1) for n in range(500)], pa.timestamp("us"))
    table = pa.table({"text": texts, "when": times, "page": [{"url": f"http://example.org/{n}"} for n in range(500)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=row_group_size, use_deprecated_int96_timestamps=True)
    kind = Tables(kind="parquet", paths=["a.parquet"], url_field="page.url", date_field="when")
    parts = require_parts_equal_whole(kind, tmp_path, 2_000, monkeypatch)
    assert parts == 1 if row_group_size == 1000 else parts > 2


def test_conversations_are_read_once(tmp_path, monkeypatch):
    rng = random.Random(5)
    chats = [{"prompt": sentence(rng, 9), "completion": sentence(rng, rng.randint(0, 40))} for _ in range(200)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    pq.write_table(pa.Table.from_pylist(chats), tmp_path / "b.parquet", row_group_size=20)
    assert (
        require_parts_equal_whole(Chats(kind="chat", paths=["a.jsonl", "b.parquet"]), tmp_path, 1_500, monkeypatch) > 10
    )


def crawl(warc, packing: str, damaged: bool) -> bytes:
    rng = random.Random(packing)
    pages = [f"<p>{sentence(rng, rng.randint(1, 400))}".encode() for _ in range(60)]
    packed = [
        warc.pack[packing](warc.record(warc.http(page), f"http://example.org/{n}")) for n, page in enumerate(pages)
    ]
    if damaged:
        for number in (0, 9, 30, 59):
            middle = len(packed[number]) // 2
            packed[number] = packed[number][:middle] + b"\xff" * 8 + packed[number][middle + 8 :]
    return b"".join(packed)


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
def test_records_are_read_once(tmp_path, monkeypatch, warc, packing, damaged):
    monkeypatch.setattr(records, "LOOK_BACK_BYTES", 5_000)
    (tmp_path / "a.warc").write_bytes(crawl(warc, packing, damaged))
    for block_bytes in (997, 5_003, 20_011):
        assert require_parts_equal_whole(WARC_FILE, tmp_path, block_bytes, monkeypatch) > 1


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_file_that_is_one_member_is_read_once(tmp_path, monkeypatch, warc, packing):
    monkeypatch.setattr(records, "LOOK_BACK_BYTES", 500)
    (tmp_path / "a.warc").write_bytes(warc.pack[packing](crawl(warc, "plain", damaged=False)))
    require_parts_equal_whole(WARC_FILE, tmp_path, 1_000, monkeypatch)


@pytest.mark.parametrize("packing", ["plain", "gzip"])
def test_pages_of_an_archive_within_an_archive_are_no_pages_of_a_part_that_begins_there(
    tmp_path, monkeypatch, warc, packing
):
    inner = warc.http(b"".join(warc.pack[packing](record) for record in warc.crawl(40, "plain")))
    outer = [warc.record(inner, "http://example.org/inner.warc"), *warc.crawl(3, "plain")]
    (tmp_path / "a.warc").write_bytes(b"".join(warc.pack[packing](record) for record in outer))
    require_parts_equal_whole(WARC_FILE, tmp_path, 1_000, monkeypatch)


def test_a_file_that_grows_keeps_the_shards_of_its_start(tmp_path, monkeypatch):
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"text": f"line {n}"}) + "\n" for n in range(400)))
    kind = Tables(kind="jsonl", paths=["a.jsonl"])
    before = [each.fingerprint for each in split(kind, tmp_path, 1_000, monkeypatch)]
    with file.open("a") as stream:
        stream.write('{"text": "new"}\n')
    after = [each.fingerprint for each in split(kind, tmp_path, 1_000, monkeypatch)]
    assert len(after) == len(before) and after[:-2] == before[:-2] and after[-1] != before[-1]


def test_each_part_notices_a_change_of_its_own_bytes(tmp_path, monkeypatch):
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"text": f"line {n}"}) + "\n" for n in range(400)))
    parts = split(Tables(kind="jsonl", paths=["a.jsonl"]), tmp_path, 1_000, monkeypatch)
    content = bytearray(file.read_bytes())
    content[content.index(b"line 200")] ^= 1
    file.write_bytes(content)
    changed = []
    for number, each in enumerate(parts):
        try:
            read([each], tmp_path)
        except ChangedError:
            changed.append(number)
    assert changed == [3, 4, 5] or changed == [2, 3, 4]


@pytest.mark.parametrize("change", [lambda data: data + b"\n", lambda data: data[:-1], lambda data: b"x" + data[1:]])
def test_a_large_file_that_is_read_whole_is_checked_whole(tmp_path, monkeypatch, change):
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream:
        stream.write("".join(json.dumps({"text": sentence(random.Random(n), 50)}) + "\n" for n in range(99)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(packed.getvalue())
    (whole,) = split(Tables(kind="jsonl", paths=["a.jsonl.gz"]), tmp_path, 1_000, monkeypatch)
    assert len(read([whole], tmp_path)[0]) == 99
    (tmp_path / "a.jsonl.gz").write_bytes(change(packed.getvalue()))
    with pytest.raises(ChangedError, match="changed since the run was planned"):
        read([whole], tmp_path)
