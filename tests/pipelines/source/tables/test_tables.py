"""Rows become documents: JSON Lines and Parquet are read back as written; bad rows and torn files are set aside."""

import bz2
import datetime
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import TypeAdapter

from data_recipes import RecipeError
from data_recipes.schema import SourceSection
from pipelines import source
from pipelines.source.stage import SourceError
from pipelines.source.tables import rows as rows_module
from pipelines.source.tables.rows import BadRow, BrokenFileError, Row, read_json_lines, read_parquet_rows

ROWS = [
    {"text": f"Text {n} says ü and 🙂.", "link": f"http://example.org/{n}", "terms": "CC-BY-4.0", "key": n}
    for n in range(300)
]
NAMED = {"url_field": "link", "licence_field": "terms", "id_field": "key"}


def section(kind: str, *paths: str, limit: float = 0.05, **fields: object) -> SourceSection:
    item = {"kind": kind, "paths": list(paths), **fields}
    return TypeAdapter(SourceSection).validate_python({"inputs": [item], "max_quarantined_fraction": limit})


def json_lines(rows: list[dict]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=row["key"] % 2 == 0).encode() + b"\n" for row in rows)


@pytest.fixture
def build(attempt, tmp_path):
    def build(selected: SourceSection, name: str = "store"):
        return attempt(source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path), name)

    return build


def documents(made) -> list[dict]:
    return [row for path in sorted(made.artifact.path.rglob("documents/*")) for row in pq.read_table(path).to_pylist()]


def told(rows: list[dict], origin: str) -> list[tuple]:
    return [
        (row["text"], row["link"], origin, number, row["terms"], {"id": str(row["key"])})
        for number, row in enumerate(rows, start=1)
    ]


def found(made) -> list[tuple]:
    return [
        (row["text"], row["url"], row["origin"], row["offset"], row["licence"], json.loads(row["attributes"]))
        for row in documents(made)
    ]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl", bytes),
        ("a.ndjson", lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")),
        ("a.json.gz", lambda data: gzip.compress(data[:5000]) + gzip.compress(data[5000:])),
        ("a.jsonl.zst", lambda data: zstandard.compress(data[:5000]) + zstandard.compress(data[5000:])),
        ("a.jsonl.bz2", lambda data: bz2.compress(data[:5000]) + bz2.compress(data[5000:])),
        ("padded.jsonl.gz", lambda data: gzip.compress(data) + bytes(10_000)),
        ("padded.jsonl.bz2", lambda data: bz2.compress(data) + bytes(300_000)),
        ("streams.jsonl.bz2", lambda data: bz2.compress(b"") + bz2.compress(data) + bytes(3) + bz2.compress(b"")),
        ("members.jsonl.gz", lambda data: gzip.compress(b"") + gzip.compress(data) + bytes(3) + gzip.compress(b"")),
        ("skippable.jsonl.zst", lambda data: b"\x50\x2a\x4d\x18\x02\x00\x00\x00ab" + zstandard.compress(data)),
        ("unpacked.jsonl.gz", bytes),
        ("packed.jsonl", gzip.compress),
        ("marks.jsonl", lambda data: data.replace(b'{"', b'\xef\xbb\xbf{"')),
    ],
)
def test_json_lines_of_every_packing_give_every_row(build, tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(json_lines(ROWS)))
    assert found(build(section("jsonl", name, **NAMED))) == told(ROWS, name)


def test_parquet_gives_every_row_whatever_its_row_groups(build, tmp_path):
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    pq.write_table(table, tmp_path / "b.parquet", use_dictionary=["terms"], compression="zstd")
    made = build(section("parquet", "*.parquet", **NAMED))
    assert found(made) == told(ROWS, "a.parquet") + told(ROWS, "b.parquet")
    assert made.metrics["data/files"] == 2


def test_a_row_without_a_url_is_known_by_its_file_and_number(build, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "three", "link": null}\n')
    rows = documents(build(section("jsonl", "a.jsonl", url_field="link")))
    assert [(row["url"], row["offset"], row["attributes"]) for row in rows] == [
        ("a.jsonl#1", 1, None),
        ("a.jsonl#3", 3, None),
    ]


def test_dates_of_parquet_are_written_as_iso_8601(build, tmp_path):
    when = [datetime.datetime(2020, 2, 3, 4, 5, 6), None]
    pq.write_table(pa.table({"text": ["a b", "c d"], "when": when}), tmp_path / "a.parquet")
    made = build(section("parquet", "a.parquet", date_field="when"))
    assert [row["date"] for row in documents(made)] == ["2020-02-03T04:05:06", None]


BAD_LINES = [
    (b'{"text": "torn', "no JSON"),
    (b'["text"]', "no JSON object, but list"),
    (b'{"txt": "x"}', "no field 'text'"),
    (b'{"text": 7}', "text is no text, but int"),
    (b'{"text": "\xff"}', "no JSON: 'utf-8' codec"),
    (b'{"text": "half \\ud83d"}', "undecodable text: surrogates not allowed at character 5"),
    (b'{"text": "x", "link": "\\udc00"}', "undecodable text"),
    (b'{"text": ' + b"[" * 100_000, "no JSON"),
    (b'{"text": "x", "n": ' + b"1" * 10_000 + b"}", "no JSON: Exceeds the limit"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason for _, reason in BAD_LINES])
def test_a_bad_line_is_set_aside_with_its_number_and_costs_no_other(build, tmp_path, line, reason):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n' + line + b'\n{"text": "three"}')
    made = build(section("jsonl", "a.jsonl", limit=0.5, url_field="link"))
    assert [row["text"] for row in documents(made)] == ["one", "three"]
    (entry,) = made.quarantined
    assert entry["origin"] == "a.jsonl#2" and entry["reason"].startswith(reason)


def test_rows_without_text_are_counted(build, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": null}\n{"text": " \\n"}\n{"text": "x"}\n')
    made = build(section("jsonl", "a.jsonl"))
    assert (made.metrics["data/skipped_no_text"], made.metrics["data/documents"]) == (3, 1)


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 10_000])
def test_lines_are_the_same_however_the_file_is_cut_into_blocks(tmp_path, monkeypatch, block_bytes):
    lines = [json.dumps({"text": "x" * size}) for size in (0, 1, 30, 31, 32, 500, 3, 0)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr(rows_module, "READ_BYTES", block_bytes)
    monkeypatch.setattr(rows_module, "MAX_LINE_BYTES", len(lines[3]))
    for number, (line, row) in enumerate(
        zip(lines, read_json_lines(tmp_path / "a.jsonl", ["text"]), strict=True), start=1
    ):
        if len(line) > len(lines[3]):
            assert row == BadRow(number, f"line of more than the {len(lines[3])} bytes that are read")
        else:
            assert row == Row(number, json.loads(line))


def test_text_that_is_no_utf8_in_parquet_costs_its_own_row(tmp_path):
    raw = pa.array([b"one", b"\xff\xfe", b"three"])
    pq.write_table(pa.table({"text": raw.view(pa.string())}), tmp_path / "a.parquet")
    result = list(read_parquet_rows(tmp_path / "a.parquet", ["text"]))
    assert result == [Row(1, {"text": "one"}), BadRow(2, result[1].reason), Row(3, {"text": "three"})]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2"])
def test_a_torn_file_keeps_what_was_read_and_counts_as_lost(build, tmp_path, name):
    pack = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress}[name.rpartition(".")[2]]
    whole, torn = pack(json_lines(ROWS[:100])), pack(json_lines(ROWS[100:]))[:-20]
    (tmp_path / name).write_bytes(whole + torn)
    (tmp_path / "b.jsonl").write_bytes(json_lines(ROWS[:3]))
    with pytest.raises(
        SourceError, match=rf"1 of 2 files could not be read.*{name}: damaged file: .* it ends with the"
    ):
        build(section("jsonl", ".", **NAMED))
    made = build(section("jsonl", ".", limit=0.5, **NAMED), "lenient")
    assert made.metrics["data/lost_files"] == 1
    assert told(ROWS[:3], "b.jsonl") == [row for row in found(made) if row[2] == "b.jsonl"]


def test_a_damaged_parquet_file_is_broken_and_never_a_crash(tmp_path):
    pq.write_table(pa.table({"text": ["some text"] * 5000, "n": range(5000)}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    for cut in (0, 3, 100, len(content) - 9):
        (tmp_path / "b.parquet").write_bytes(content[:cut])
        with pytest.raises(BrokenFileError, match="damaged Parquet file"):
            list(read_parquet_rows(tmp_path / "b.parquet", ["text"]))


def test_wrong_columns_and_endings_are_errors_before_anything_starts(tmp_path):
    pq.write_table(pa.table({"body": ["x"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(RecipeError, match=r"a.parquet: no column 'text'; the columns are body, n. Correct"):
        source.fingerprint(section("parquet", "a.parquet"), tmp_path)
    with pytest.raises(RecipeError, match="not a JSON Lines file, whose names end in .jsonl, .* or .json.zst"):
        source.fingerprint(section("jsonl", "a.parquet"), tmp_path)


@pytest.mark.parametrize("nothing", ["nan", "NaN", "None", "null", "<NA>", "NaT", " nan "])
def test_what_pandas_writes_for_no_url_is_none(build, tmp_path, nothing):
    """`frame.astype(str)` turns a missing value into a word, under which all such rows would be held out as one."""
    urls = ["http://example.org/nan", nothing, "nanny.example", nothing]
    rows = [{"text": f"Text {n}", "link": url} for n, url in enumerate(urls)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = build(section("jsonl", "a.jsonl", url_field="link"))
    assert [row["url"] for row in documents(made)] == [urls[0], "a.jsonl#2", urls[2], "a.jsonl#4"]
