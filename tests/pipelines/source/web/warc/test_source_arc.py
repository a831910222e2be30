"""ARC files and WARC files of LZ4 frames: every page of them, with damage by name."""

import gzip
from pathlib import Path

import pytest
from fastwarc.stream_io import Lz4Writer

from pipelines import read_documents
from pipelines.source.web.warc.responses import Damage, Response, read_responses

ABOUT = "1 0 Crawler\nURL IP-address Archive-date Content-type Archive-length\n"
HEAD = f"filedesc://x.arc 0.0.0.0 20090101000000 text/plain {len(ABOUT)}\n{ABOUT}\n"
PAGES = [f"<html><body><p>The river rose, page {n}.</p></body></html>" for n in range(4)]


def arc_record(number: int, body: str) -> bytes:
    http = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{body}".encode()
    return f"http://a.example/{number} 192.0.2.1 2009020304050{number} text/html {len(http)}\n".encode() + http + b"\n"


RECORDS = [HEAD.encode(), *map(arc_record, range(4), PAGES)]


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


FILES = {
    "x.arc": b"".join(RECORDS),
    "x.arc.gz": b"".join(map(gzip.compress, RECORDS)),
    "whole.arc.gz": gzip.compress(b"".join(RECORDS)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_page_of_an_arc_file_is_a_response(tmp_path, name):
    result = list(read_responses(written(tmp_path, name, FILES[name])))
    assert [page.body.decode() for page in result] == PAGES
    assert [(page.url, page.date, page.status) for page in result] == [
        (f"http://a.example/{n}", f"2009-02-03T04:05:0{n}Z", 200) for n in range(4)
    ]
    assert [page.headers["content-type"] for page in result] == ["text/html"] * 4


@pytest.mark.parametrize("name", FILES)
def test_documents_of_an_arc_file_are_read_by_name(tmp_path, name):
    documents = list(read_documents(written(tmp_path, name, FILES[name]), extractor="all_text"))
    assert [document.text for document in documents] == [f"The river rose, page {n}." for n in range(4)]


def test_places_of_a_plain_arc_file_are_those_of_its_records(tmp_path):
    content = FILES["x.arc"]
    for page in read_responses(written(tmp_path, "x.arc", content)):
        assert isinstance(page, Response)
        assert content[page.offset : page.offset + page.length].startswith(page.url.encode())
        assert content[page.offset : page.offset + page.length].endswith(page.body)


def test_what_is_no_record_costs_itself_and_is_named_once(tmp_path):
    content = b"".join([*RECORDS[:2], b"garbage\nmore garbage\n", *RECORDS[2:]])
    result = list(read_responses(written(tmp_path, "x.arc", content)))
    assert [page.body.decode() for page in result if isinstance(page, Response)] == PAGES
    assert [damage.reason for damage in result if isinstance(damage, Damage)] == ["no ARC record starts here"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_breaks_off_names_its_damage_and_keeps_what_is_whole(tmp_path, name):
    result = list(read_responses(written(tmp_path, name, FILES[name][:-20])))
    assert isinstance(result[-1], Damage)
    bodies = [page.body.decode() for page in result if isinstance(page, Response)]
    assert bodies == PAGES[: len(bodies)] and len(bodies) >= (0 if "whole" in name else 3)


def test_a_record_beyond_the_limit_is_passed_over_with_its_size(tmp_path):
    result = list(read_responses(written(tmp_path, "x.arc", FILES["x.arc"]), max_record_bytes=80))
    assert all(isinstance(each, Damage) and "more than the 80" in each.reason for each in result) and len(result) == 4


def lz4(records: list[bytes], path: Path) -> bytes:
    with path.open("wb") as file:
        writer = Lz4Writer(file)
        for record in records:
            writer.write(record)
            writer.finish()
        writer.close()
    return path.read_bytes()


def warc_record(number: int, body: str) -> bytes:
    http = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{body}".encode()
    fields = {
        "WARC-Type": "response",
        "WARC-Target-URI": f"http://a.example/{number}",
        "WARC-Date": "2020-01-01T00:00:00Z",
        "Content-Type": "application/http",
        "Content-Length": len(http),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"WARC/1.0\r\n{head}\r\n".encode() + http + b"\r\n\r\n"


def test_every_page_of_lz4_frames_is_read_and_a_broken_file_names_its_damage(tmp_path):
    path = tmp_path / "x.warc.lz4"
    content = lz4([*map(warc_record, range(4), PAGES)], path)
    assert [page.body.decode() for page in read_responses(path)] == PAGES
    assert len(list(read_documents(path, extractor="all_text"))) == 4
    result = list(read_responses(written(tmp_path, "broken.warc.lz4", content[:-30])))
    assert isinstance(result[-1], Damage) and "LZ4 file is damaged" in result[-1].reason
