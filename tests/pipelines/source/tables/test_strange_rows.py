"""A strange row costs only itself and a damaged file only the rows behind the damage: no error, and no other value."""

import datetime
import gzip
import json
import math
import uuid
import zlib
from bz2 import compress as bzip2
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_recipes.sections.inputs import TableInput
from pipelines.artifacts.documents import DocumentWriter
from pipelines.source.document_sink import DocumentSink
from pipelines.source.tables.rows import (
    BadRow,
    BrokenFileError,
    MissingColumnError,
    Row,
    read_json_lines,
    read_parquet_rows,
)
from pipelines.source.tables.table_files import take_row, wanted_fields

FIELDS = {"url_field": "url", "date_field": "when", "licence_field": "terms", "id_field": "key"}
ONLY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = "The river rose in the night."


def section(kind: str, **fields: str) -> TableInput:
    return TableInput.model_validate({"kind": kind, "paths": ["x"], **FIELDS, **fields})


def taken(path, selected: TableInput, folder) -> tuple[list[dict], list[dict], int]:
    """Documents, set aside rows, and rows without text of a file."""
    read = read_json_lines if selected.kind == "jsonl" else read_parquet_rows
    with DocumentWriter(folder, 0) as writer:
        reading = DocumentSink(folder, "all_text", 0.1, writer)
        for row in read(path, wanted_fields(selected)):
            take_row(row, selected, path.name, reading)
    return (
        pq.read_table(folder / "documents/00000.parquet").to_pylist(),
        reading.quarantined,
        reading.counts["skipped_no_text"],
    )


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "a", "b.c"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def leaves(value: object) -> Iterator[object]:
    """What lists and objects hold at last."""
    if isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    else:
        yield value


def expected_text(value: object) -> str | None:
    """A field as the documents have it, by the rule that docs give."""
    if all(leaf is None or leaf != leaf or not str(leaf).strip() for leaf in leaves(value)):
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if text.strip() else None


@ONLY
@given(st.lists(st.dictionaries(st.sampled_from(["text", "url", "when", "terms", "key"]), ANY_JSON), max_size=6))
def test_any_json_becomes_what_it_is_or_is_set_aside(tmp_path, rows):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents, bad, without_text = taken(path, section("jsonl"), tmp_path)
    assert len(documents) + len(bad) + without_text == len(rows)
    for document in documents:
        row = rows[document["offset"] - 1]
        assert document["text"] == row["text"]
        assert document["url"] == (expected_text(row.get("url")) or f"a.jsonl#{document['offset']}")
        assert (document["date"], document["licence"]) == (
            expected_text(row.get("when")),
            expected_text(row.get("terms")),
        )
        assert json.loads(document["attributes"] or "{}").get("id") == expected_text(row.get("key"))
    halves = {number for number, row in enumerate(rows, start=1) if "\\ud800" in json.dumps(row)}
    for entry in bad:
        number = int(entry["origin"].removeprefix("a.jsonl#"))
        assert number in halves or not isinstance(rows[number - 1].get("text", 0), str | None)


PACK = {
    ".jsonl": bytes,
    ".jsonl.gz": gzip.compress,
    ".jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".jsonl.bz2": bzip2,
}
LINES = [{"text": f"{WORDS} {number} \u2028\x85 {zlib.crc32(b'%d' % number)}"} for number in range(200)]


@pytest.mark.parametrize("ending", PACK)
@ONLY
@given(place=st.integers(0, 10**6), bits=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_gives_its_own_rows_or_is_named(tmp_path, ending, place, bits, cut):
    content = bytearray(PACK[ending]("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in LINES).encode()))
    at = place % len(content)
    if cut:
        del content[at:]
    else:
        content[at] ^= bits
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    rows: list[Row | BadRow] = []
    is_named = False
    try:
        rows += read_json_lines(path, ["text"])
    except BrokenFileError:
        is_named = True
        assert ending != ".jsonl" or (not cut and at < 2)
    sound = {row["text"] for row in LINES}
    changed = [row for row in rows if isinstance(row, Row) and row.values.get("text") not in sound]
    # Plain text has no checksum: a bit of it that flips is another sound text, of that row alone.
    assert len(changed) <= (1 if ending == ".jsonl" else 0) or is_named


SECOND = 10**9
MOMENTS = st.integers(-(2**63) + 1, 2**63 - 1)
VALUES = {
    **{
        f"timestamp {unit} {zone}": (pa.timestamp(unit, zone), MOMENTS)
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Berlin", "Mars/Phobos")
    },
    "date32": (pa.date32(), st.integers(-(2**31), 2**31 - 1)),
    "date64": (pa.date64(), MOMENTS),
    "time32": (pa.time32("ms"), st.integers(-(2**31), 2**31 - 1)),
    "time64": (pa.time64("ns"), MOMENTS),
    "duration": (pa.duration("us"), MOMENTS),
}
PLAIN = {
    "null": (pa.null(), st.none()),
    "bool": (pa.bool_(), st.booleans()),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "half": (pa.float16(), st.sampled_from([0.5, math.nan, math.inf])),
    "double": (pa.float64(), st.floats()),
    "decimal": (pa.decimal128(20, 2), st.integers(-(10**9), 10**9).map(lambda n: Decimal(n).scaleb(-2))),
    "string": (pa.string(), st.text(max_size=8)),
    "large_string": (pa.large_string(), st.text(max_size=8)),
    "string_view": (pa.string_view(), st.text(max_size=8)),
    "binary": (pa.binary(), st.binary(max_size=8) | st.text(max_size=8).map(str.encode)),
    "large_binary": (pa.large_binary(), st.binary(max_size=8)),
    "fixed": (pa.binary(4), st.binary(min_size=4, max_size=4)),
    "list": (pa.list_(pa.int64()), st.lists(st.integers(-9, 9), max_size=3)),
    "times": (pa.list_(pa.timestamp("s")), st.lists(MOMENTS, max_size=2)),
    "struct": (
        pa.struct([("a", pa.string()), ("b", pa.binary())]),
        st.fixed_dictionaries({"a": st.text(), "b": st.binary()}),
    ),
    "map": (pa.map_(pa.string(), pa.int32()), st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9)), max_size=2)),
    "uuid": (pa.uuid(), st.uuids().map(lambda value: value.bytes)),
}
EVERY = VALUES | PLAIN


@pytest.mark.parametrize("name", EVERY)
@settings(ONLY, max_examples=12)
@given(data=st.data())
def test_every_type_in_every_column_costs_at_most_its_row(tmp_path, name, data):
    kind, values = EVERY[name]
    column = data.draw(st.lists(st.none() | values, min_size=1, max_size=5))
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    array = (
        pa.array(column, pa.int64() if name in VALUES and storage.bit_width == 64 else storage)
        if not (name in VALUES and storage.bit_width == 32)
        else pa.array(column, pa.int32())
    )
    array = array.view(kind) if name in VALUES else kind.wrap_array(array) if storage is not kind else array
    field = data.draw(st.sampled_from(["text", *FIELDS.values()]))
    table = {used: [f"{WORDS} {n}" for n in range(len(column))] for used in ("text", *FIELDS.values())}
    path = tmp_path / "a.parquet"
    try:
        pq.write_table(pa.table({**table, field: array}), path)
    except pa.ArrowException:
        return
    documents, bad, without_text = taken(path, section("parquet"), tmp_path)
    assert len(documents) + len(bad) + without_text == len(column)
    assert all(entry["reason"] and entry["origin"].startswith("a.parquet#") for entry in bad)
    others = {entry for entry in ("text", "url", "when", "terms") if entry != field}
    names = {"text": "text", "url": "url", "when": "date", "terms": "licence"}
    for document in documents:
        assert all(document[names[other]] == f"{WORDS} {document['offset'] - 1}" for other in others)


def instant(value: int, unit: str) -> datetime.datetime | None:
    """The moment by Python's own calendar, None outside of it; nanoseconds are left out."""
    micros = value * SECOND // {"s": 1, "ms": 10**3, "us": 10**6, "ns": SECOND}[unit] // 1000
    try:
        return datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
    except OverflowError:
        return None


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Mars/Phobos", "Asia/Tokyo"])
@settings(ONLY, max_examples=20)
@given(values=st.lists(MOMENTS | st.integers(-(10**10), 10**10) | st.none(), min_size=1, max_size=5))
def test_timestamps_are_the_moments_that_they_are_or_are_set_aside(tmp_path, unit, zone, values):
    path = tmp_path / "a.parquet"
    times = pa.array(values, pa.int64()).view(pa.timestamp(unit, zone))
    table = pa.table({"text": [WORDS] * len(values), "when": times})
    try:
        pq.write_table(table, path, version="2.6")
    except pa.ArrowInvalid:
        # Parquet has no seconds: these do not fit into milliseconds.
        return
    stored = pq.read_table(path)["when"].cast(pa.int64()).to_pylist()
    remaining = "ms" if unit == "s" else unit
    for row, value in zip(read_parquet_rows(path, ["when"]), stored, strict=True):
        moment = None if value is None else instant(value, remaining)
        if value is not None and moment is None:
            assert isinstance(row, BadRow) and row.reason.startswith("when: a date ")
        elif value is None:
            assert row.values["when"] is None
        else:
            text = row.values["when"]
            assert text.endswith("+00:00") == (zone is not None)
            assert datetime.datetime.fromisoformat(text.removesuffix("+00:00")) == moment
            assert (unit != "ns") or not value % 1000 or text.removesuffix("+00:00").endswith(f"{value % SECOND:09d}")


@settings(ONLY, max_examples=30)
@given(values=st.lists(st.datetimes() | st.none(), min_size=1, max_size=5))
def test_int96_gives_every_date_of_the_calendar(tmp_path, values):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [WORDS] * len(values), "when": pa.array(values, pa.timestamp("us"))})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    rows = list(read_parquet_rows(path, ["text", "when"]))
    assert [row.values["when"] for row in rows] == [value and value.isoformat() for value in values]


def test_dots_lead_into_nested_fields_and_a_column_of_that_name_goes_first(tmp_path):
    rows = [
        {"text": "one", "meta": {"url": "http://a.example/"}},
        {"text": "two", "meta": None},
        {"text": "three", "meta": {"url": None}},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for kind in ("jsonl", "parquet"):
        path = tmp_path / f"a.{kind}"
        selected = TableInput(kind=kind, paths=["x"], url_field="meta.url")
        documents, bad, _ = taken(path, selected, tmp_path)
        assert [row["url"] for row in documents] == ["http://a.example/", f"{path.name}#2", f"{path.name}#3"]
        assert not bad
    named = [{"text": "one", "meta": {"url": "inner"}, "meta.url": "outer"}]
    pq.write_table(pa.Table.from_pylist(named), tmp_path / "a.parquet")
    assert next(read_parquet_rows(tmp_path / "a.parquet", ["meta.url"])).values == {"meta.url": "outer"}


@settings(ONLY, max_examples=120)
@given(place=st.integers(0, 10**6), bits=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_parquet_file_is_named_and_changes_no_value(tmp_path, place, bits, cut):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"{WORDS} {n}" for n in range(40)], "url": [f"http://a.example/{n}" for n in range(40)]})
    pq.write_table(table, path, write_page_checksum=True, row_group_size=10)
    content = bytearray(path.read_bytes())
    at = place % len(content)
    if cut:
        del content[at:]
    else:
        content[at] ^= bits
    path.write_bytes(content)
    result: list[Row | BadRow] = []
    try:
        for row in read_parquet_rows(path, ["text", "url"]):
            result.append(row)
    except BrokenFileError as error:
        assert str(error)
    sound = [Row(number, row) for number, row in enumerate(table.to_pylist(), start=1)]
    behind = int.from_bytes(bytes(content[-8:-4]), "little") if len(content) > 8 else 0
    if at < len(content) - 8 - behind:
        assert result == sound[: len(result)]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", '{"text": "x"}'.encode("utf-16"), "text in UTF-16. Save it as UTF-8"),
        ("a.json", json.dumps([{"text": "x"}] * 9).encode(), "JSON arrays, .* jq -c '.\\[\\]'"),
        ("a.json", b"\xef\xbb\xbf" + json.dumps([{"text": "x"}] * 9, indent=2).encode(), "JSON arrays"),
        ("a.json.gz", json.dumps([{"text": "x"}] * 9).encode(), "JSON arrays"),
        ("a.jsonl.zst", zstandard.compress(b"[\n" + b'{"text": "x"},\n' * 9 + b"]"), "JSON arrays"),
        ("a.json", json.dumps({"text": "x"}, indent=4).encode() * 9, "objects of several lines"),
        ("a.jsonl", b"<!DOCTYPE html>\n<html><body>403 Forbidden</body></html>", "a page, .* Download the file again"),
        ("a.jsonl.gz", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a page, "),
        ("a.jsonl.gz", b"\x00\x01 no gzip", "its first bytes are of no compressed file"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n', mtime=0) + b"rubbish", "byte 34 is in no gzip stream"),
    ],
)
def test_a_file_of_another_kind_is_named_as_such(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BrokenFileError, match=reason):
        list(read_json_lines(tmp_path / name, ["text"]))


@pytest.mark.parametrize("empty", [[], {}, [[]], [None], [""], {"href": None}, {"a": [" ", {}]}, "[]", " {} "])
def test_an_empty_list_or_object_is_no_url_that_rows_share(tmp_path, empty):
    rows = [{"text": WORDS, "url": empty, "terms": empty} for _ in range(3)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents, bad, _ = taken(tmp_path / "a.jsonl", section("jsonl"), tmp_path)
    assert [row["url"] for row in documents] == ["a.jsonl#1", "a.jsonl#2", "a.jsonl#3"] and not bad
    assert isinstance(empty, str) or {row["licence"] for row in documents} == {None}


def test_lists_and_structs_of_int96_are_named_and_what_is_in_a_struct_is_read(tmp_path):
    moment = datetime.datetime(2020, 1, 2, 3, 4, 5)
    columns = {"a": [{"t": moment}], "b": [{"t": moment, "u": moment}], "c": [[moment]], "d": [{"e": [moment]}]}
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [WORDS], **columns}), path, use_deprecated_int96_timestamps=True)
    for field in columns:
        with pytest.raises(MissingColumnError, match=f"{field}: timestamps of the old kind INT96 within"):
            list(read_parquet_rows(path, [field]))
    assert list(read_parquet_rows(path, ["text", "a.t"])) == [Row(1, {"text": WORDS, "a.t": "2020-01-02T03:04:05"})]


MARKS = ["", "\ufeff", "\ufeff\ufeff"]
BLANKS = ["", " ", "\t", "\r", "\u00a0", "\u3000 ", "\u2028", "\x0c", "\x85"]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_marks_and_blanks_alone_are_no_rows(tmp_path, mark, blank, end):
    path, row = tmp_path / "a.jsonl", '{"text": "x"}\n'
    path.write_bytes(f"{mark}{blank}{end}".encode())
    assert list(read_json_lines(path, ["text"])) == []
    path.write_bytes(f"{mark}{row}{mark}{blank}\n{mark}{row}{mark}{blank}{end}".encode())
    assert list(read_json_lines(path, ["text"])) == [Row(1, {"text": "x"}), Row(3, {"text": "x"})]


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_an_empty_file_of_any_encoding_has_no_rows(tmp_path, codec):
    (tmp_path / "a.jsonl").write_bytes("".encode(codec))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("".encode("utf-8-sig")))
    assert list(read_json_lines(tmp_path / "a.jsonl", ["text"])) == []
    assert list(read_json_lines(tmp_path / "b.jsonl.gz", ["text"])) == []


def test_two_columns_of_one_name_are_named(tmp_path):
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(BrokenFileError, match="2 columns are named 'text'"):
        list(read_parquet_rows(tmp_path / "a.parquet", ["text"]))


def test_an_identifier_of_bytes_is_written_as_what_it_is(tmp_path):
    key = uuid.UUID(int=7)
    table = pa.table({"text": [WORDS], "key": pa.uuid().wrap_array(pa.array([key.bytes], pa.binary(16)))})
    pq.write_table(table, tmp_path / "a.parquet")
    documents, _, _ = taken(tmp_path / "a.parquet", TableInput(kind="parquet", paths=["x"], id_field="key"), tmp_path)
    assert json.loads(documents[0]["attributes"]) == {"id": str(key)}
