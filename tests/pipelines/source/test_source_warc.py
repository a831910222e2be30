"""Reading WARC files: what is sound is found with its place, what is damaged is named and costs nothing else."""

import gzip
import re
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.source import warc as reader
from pipelines.source.warc import Damage, Response, read_responses, write_responses


@pytest.fixture(scope="session")
def read(tmp_path_factory):
    """What the reader finds in bytes: (responses, damages)."""
    path = tmp_path_factory.mktemp("warc") / "crawl.warc.gz"

    def read(data: bytes) -> tuple[list[Response], list[Damage]]:
        path.write_bytes(data)
        found = list(read_responses(path))
        return [x for x in found if isinstance(x, Response)], [x for x in found if isinstance(x, Damage)]

    return read


def test_every_response_has_the_place_of_its_record(read, warc):
    records = warc.crawl(5)
    responses, damages = read(b"".join(records))
    assert not damages
    starts = [0, *accumulate(map(len, records))]
    assert [(r.offset, r.length) for r in responses] == list(zip(starts[1:], map(len, records[1:]), strict=False))
    assert [r.url for r in responses] == [f"http://example.org/{n}" for n in range(5)]
    assert [r.body for r in responses] == [warc.html(n) for n in range(5)]
    assert responses[0].date == "2020-02-02T00:00:00Z"


def test_uncompressed_and_gzipped_files_hold_the_same(read, warc):
    plain = b"".join(map(gzip.decompress, warc.crawl(3)))
    responses, damages = read(plain)
    assert [r.body for r in responses] == [warc.html(n) for n in range(3)] and not damages
    assert all(plain[r.offset : r.offset + 8] == b"WARC/1.0" for r in responses)
    assert responses[-1].offset + responses[-1].length == len(plain)


@pytest.mark.parametrize("encoding", ["gzip", "chunked", "both"])
def test_bodies_are_decoded(read, warc, encoding):
    page = warc.html(1)
    packed = page if encoding == "chunked" else gzip.compress(page)
    sent = packed if encoding == "gzip" else b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
    headers = {
        "gzip": ("Content-Encoding: gzip",),
        "chunked": ("Transfer-Encoding: chunked",),
        "both": ("Transfer-Encoding: chunked", "Content-Encoding: gzip"),
    }[encoding]
    responses, _ = read(gzip.compress(warc.record(warc.http(sent, headers=headers))))
    assert responses[0].body == page


def test_repeated_headers_are_joined(read, warc):
    block = warc.http(b"x", headers=("X-Robots-Tag: noai", "x-robots-tag: noindex"))
    assert read(warc.record(block))[0][0].headers["x-robots-tag"] == "noai, noindex"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda r: r[: len(r) // 2], "damaged|ends with the file"),
        (lambda r: bytes([r[0] ^ 255]) + r[1:], "no WARC record starts here"),
        (lambda r: r[:-6] + bytes([r[-6] ^ 255]) + r[-5:], "damaged"),
        (lambda r: r[:150] + bytes([r[150] ^ 255]) + r[151:], "damaged"),
        (lambda r: b"no gzip at all", "no WARC record starts here"),
        (lambda r: gzip.compress(b"gzip, but no WARC record"), "Invalid WARC header"),
        (lambda r: gzip.compress(gzip.decompress(r).replace(b"HTTP/1.1 200 OK", b"GARBAGE GARBAGE")), "no HTTP status"),
        (lambda r: gzip.compress(gzip.decompress(r).replace(b"WARC-Target-URI", b"X-Other")), "no WARC-Target-URI"),
        (lambda r: gzip.compress(gzip.decompress(r)[:-200]), "record ends after"),
    ],
    ids=["cut", "magic", "checksum", "flipped bits", "text", "other gzip", "no HTTP", "no URL", "short"],
)
@pytest.mark.parametrize("place", [1, 3, 5], ids=["first page", "middle", "last"])
def test_a_damaged_record_costs_itself_only(read, warc, harm, reason, place):
    records = warc.crawl(5)
    sound = [n for n in range(5) if n != place - 1]
    records[place] = harm(records[place])
    responses, damages = read(b"".join(records))
    assert [r.body for r in responses] == [warc.html(n) for n in sound]
    assert len(damages) == 1
    assert damages[0].offset == sum(map(len, records[:place]))
    assert re.search(reason, damages[0].reason)


def test_a_record_with_a_broken_body_encoding_is_damaged_alone(read, warc):
    broken = warc.record(warc.http(b"not gzip", headers=("Content-Encoding: gzip",)))
    responses, damages = read(gzip.compress(broken) + warc.crawl(1)[1])
    assert len(responses) == len(damages) == 1


def test_a_body_that_grows_beyond_the_limit_is_not_read(read, warc, monkeypatch):
    monkeypatch.setattr(reader, "MAX_RECORD_BYTES", 10_000)
    bomb = warc.record(warc.http(gzip.compress(b"a" * 10**7, 9)[:9_000], headers=("Content-Encoding: gzip",)))
    large = warc.record(warc.http(b"a" * 20_000))
    bomb_like = warc.record(warc.http(gzip.compress(b"a" * 50_000), headers=("Content-Encoding: gzip",)))
    responses, damages = read(b"".join(map(gzip.compress, (bomb, large, bomb_like))) + warc.crawl(1)[1])
    assert len(responses) == 1
    assert [damage.reason.partition(" than")[0] for damage in damages] == [
        "body decodes to more",
        "record of more",
        "body decodes to more",
    ]


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b\x08", b"WARC/1.", b"\0" * 500, b"WARC/1.0\r\n\r\n"])
def test_a_file_that_holds_nothing_is_one_damage(read, data):
    assert read(data)[0] == [] and len(read(data)[1]) == 1


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(["flip", "drop", "insert"]), st.binary(max_size=12)),
        max_size=6,
    ),
    cut=st.none() | st.integers(0, 10**6),
)
def test_no_bytes_break_the_reader_and_untouched_records_survive(read, warc, edits, cut):
    records = warc.crawl(4)
    starts = [0, *accumulate(map(len, records))]
    data, touched, shift = bytearray(b"".join(records)), set(), 0
    for place, edit, new in sorted(edits, key=lambda each: each[0] % starts[-1]):
        place %= starts[-1]
        touched |= {n for n in range(5) if starts[n] <= place < starts[n + 1]}
        at = place + shift
        if at >= len(data):
            continue
        old = len(data)
        match edit:
            case "flip":
                data[at] ^= 0x55
            case "drop":
                del data[at]
            case "insert":
                data[at:at] = new
        shift += len(data) - old
    end = len(data) if cut is None else cut % (len(data) + 1)
    lost = {n for n in range(5) if starts[n + 1] + shift > end} if cut is not None else set()
    responses, damages = read(bytes(data[:end]))
    bodies = {r.body for r in responses}
    assert all(warc.html(n - 1) in bodies for n in range(1, 5) if n not in touched | lost)
    assert all(0 <= each.offset <= end for each in (*responses, *damages))
    assert all(r.offset + r.length <= end for r in responses)
    assert damages or touched or lost or len(responses) == 4


def test_written_pages_are_read_back_and_the_bytes_depend_on_nothing_else(tmp_path):
    pages = [(f"http://example.org/{n}", f"<p>é {n}".encode()) for n in range(3)]
    for name in ("one", "two"):
        write_responses(iter(pages), tmp_path / name, "1970-01-01T00:00:00Z")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert [(r.url, r.body) for r in read_responses(tmp_path / "one")] == pages
