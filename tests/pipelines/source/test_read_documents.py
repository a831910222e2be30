"""Reading without a recipe: a damaged file is reported by its name, and costs nothing behind it."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import read_documents
from pipelines.source.errors import InputError
from tests.kit.web.warc import html, http, record

ROWS = "".join(json.dumps({"text": f"The river rose on day {day}."}) + "\n" for day in range(3)).encode()
DAMAGED = {
    "no gzip behind it": ("b.jsonl.gz", gzip.compress(ROWS) + b"garbage"),
    "a cut end": ("b.jsonl.gz", gzip.compress(ROWS)[:-6]),
    "a wrong checksum": ("b.jsonl.gz", gzip.compress(ROWS)[:-8] + bytes(8)),
    "another packing": ("b.jsonl.zst", pa.compress(ROWS, codec="lz4", asbytes=True)),
    "UTF-16": ("b.jsonl", ROWS.decode().encode("utf-16")),
    "UTF-32": ("b.jsonl", ROWS.decode().encode("utf-32")),
    "an empty Parquet file": ("b.parquet", b""),
    "no Parquet file": ("b.parquet", b"PAR1"),
    "an encrypted Parquet file": ("b.parquet", b"PAR1" + bytes(100) + b"\x10\0\0\0PARE"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_costs_itself_and_is_named(tmp_path, kind):
    name, content = DAMAGED[kind]
    (tmp_path / name).write_bytes(content)
    for sound in ("a.jsonl", "c.jsonl"):
        (tmp_path / sound).write_bytes(ROWS)
    lost: list[tuple[str, str]] = []

    documents = list(read_documents(tmp_path, on_unreadable=lambda *location: lost.append(location)))

    assert [location for location, _ in lost] == [name] and all("\n" not in reason for _, reason in lost)
    origins = [document.origin for document in documents]
    assert (origins.count("a.jsonl"), origins.count("c.jsonl")) == (3, 3)
    assert (kind.startswith("UTF")) == ("UTF-8" in lost[0][1])


def test_files_of_one_name_have_names_of_their_own(tmp_path):
    for folder in ("de", "en"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.jsonl").write_bytes(ROWS)
    urls = [document.url for document in read_documents(tmp_path)]
    assert len(set(urls)) == 6 and {"de/part.jsonl#1", "en/part.jsonl#3"} <= set(urls)


def test_a_column_that_is_missing_is_a_mistake_of_the_call(tmp_path):
    pq.write_table(pa.table({"Text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: no column 'text'; the columns are Text\. Name the fields"):
        list(read_documents(tmp_path))


@pytest.mark.parametrize("url", [None, float("nan"), "NaN", "N/A", "undefined", "-Infinity", float("inf"), " "])
def test_a_row_whose_url_is_missing_is_known_by_its_place(tmp_path, url):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "The river rose.", "url": url}) + "\n")
    assert [each.url for each in read_documents(tmp_path, url_field="url")] == ["a.jsonl#1"]


def test_pages_without_an_address_are_known_by_their_places(tmp_path):
    records = [record(http(html(number)), url) for number, url in enumerate(("", " ", "http://example.org/"))]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    locations = [f"a.warc:{sum(map(len, records[:number]))}" for number in range(2)]
    assert [each.url for each in read_documents(tmp_path)] == [*locations, "http://example.org/"]


@pytest.mark.parametrize("fields", [{"text_field": ""}, {"url_field": ""}])
def test_a_field_without_a_name_is_a_mistake_of_the_call(tmp_path, fields):
    (tmp_path / "page.txt").write_text("one")
    with pytest.raises(InputError, match=r"a field has a name\. Name them"):
        list(read_documents(tmp_path, **fields))
