"""Reading WARC files: sound records are read with their offsets, damage is named and costs nothing else."""

import gzip
import re
import zlib
from itertools import accumulate

import pytest
import zstandard
from fastwarc import ArchiveIterator, WarcRecordType

from pipelines.source.web.warc.responses import SUFFIXES, Damage, Response, read_record, read_responses, write_responses
from tests.kit.real_data import REAL_DATA

PACKINGS = ["plain", "gzip", "zstd"]
SHARED_PAGES = REAL_DATA / "web"


def starts_of(stored: list[bytes]) -> list[int]:
    return [0, *accumulate(map(len, stored))]


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_response_has_the_place_of_its_record(read, warc, packing):
    records = warc.crawl(5, packing)
    responses, damages = read(b"".join(records))
    assert not damages
    assert [(r.offset, r.length) for r in responses] == list(
        zip(starts_of(records)[1:], map(len, records[1:]), strict=False)
    )
    assert [r.url for r in responses] == [f"http://example.org/{n}" for n in range(5)]
    assert [r.body for r in responses] == [warc.html(n) for n in range(5)]
    assert responses[0].date == "2020-02-02T00:00:00Z"
    assert {r.member for r in responses} == {None}


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_record_can_be_read_alone_from_its_place(warc, packing):
    records = warc.crawl(3, packing)
    data, at = b"".join(records), starts_of(records)[2]
    (alone,) = read_record(data[at : at + len(records[2])], at)
    assert isinstance(alone, Response)
    assert (alone.offset, alone.length, alone.body) == (at, len(records[2]), warc.html(1))
    (torn,) = read_record(data[at : at + len(records[2]) - 30], at)
    assert isinstance(torn, Damage) and torn.offset == at and "ends with the file" in torn.reason


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@pytest.mark.parametrize("max_record_bytes", [2_000, 2**24], ids=["streamed", "whole"])
def test_records_of_one_member_have_their_place_in_what_it_decodes_to(read, warc, packing, max_record_bytes):
    plain = b"".join(warc.crawl(9, "plain"))
    before = warc.crawl(0, packing)[0]
    responses, damages = read(
        before + warc.pack[packing](plain) + warc.crawl(1, packing)[1], max_record_bytes=max_record_bytes
    )
    assert not damages
    assert [r.body for r in responses] == [warc.html(n) for n in (*range(9), 0)]
    *inside, alone = responses
    assert {r.member for r in inside} == {len(before)} and alone.member is None
    assert all(plain[r.offset : r.offset + r.length].startswith(b"WARC/1.0") for r in inside)
    assert inside[-1].offset + inside[-1].length == len(plain)


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@pytest.mark.parametrize("max_record_bytes", [5_000, 2**24], ids=["streamed", "whole"])
def test_of_a_damaged_member_the_records_before_the_damage_are_read(read, warc, packing, max_record_bytes):
    noise = [zlib.crc32(bytes([n])).to_bytes(4) * 300 for n in range(200)]
    plain = b"".join(warc.record(warc.http(warc.html(n) + noise[n].hex().encode())) for n in range(200))
    packed = warc.pack[packing](plain)
    last = warc.crawl(1, packing)[1]
    responses, damages = read(packed[:-60] + last, max_record_bytes=max_record_bytes)
    assert [damage.offset for damage in damages] == [0]
    bodies = [r.body.partition(b"</html>")[0] + b"</html>" for r in responses]
    assert bodies == [warc.html(n) for n in (*range(len(responses) - 1), 0)] and len(responses) > 30


def test_zstd_frames_may_need_the_dictionary_that_the_file_starts_with(read, warc):
    pages = [warc.record(warc.http(warc.html(n)), f"http://example.org/{n}") for n in range(2000)]
    trained = zstandard.train_dictionary(4096, pages)
    frames = list(map(zstandard.ZstdCompressor(dict_data=trained).compress, pages[:3]))
    for dictionary in (trained.as_bytes(), zstandard.compress(trained.as_bytes())):
        head = b"\x5d\x2a\x4d\x18" + len(dictionary).to_bytes(4, "little") + dictionary
        responses, damages = read(head + b"".join(frames))
        assert [r.body for r in responses] == [warc.html(n) for n in range(3)] and not damages
        assert responses[0].offset == len(head)
    assert [damage.reason for damage in read(frames[0])[1]] == ["zstd frame is damaged: Dictionary mismatch"]


def test_texts_and_resources_stand_for_responses_and_other_records_are_passed_over(read, warc):
    records = [
        warc.record(b"dns", "dns:example.org", content_type="text/dns"),
        warc.record(warc.http(b"x"), kind="request"),
        warc.record("Grüße".encode(), "http://example.org/wet", "conversion", "text/plain"),
        warc.record(b"{}", "http://example.org/json", "conversion", "application/json"),
        warc.record(b"<p>Hi", "file:///page.html", "resource", "text/html"),
        warc.record(b"", kind="revisit"),
    ]
    responses, damages = read(b"".join(records))
    assert not damages
    assert [(r.url, r.record_type, r.status) for r in responses] == [
        ("http://example.org/wet", "conversion", 200),
        ("file:///page.html", "resource", 200),
    ]
    assert [r.body.decode() for r in responses] == ["Grüße", "<p>Hi"]
    assert responses[1].headers == {"content-type": "text/html"}


def test_names_of_warc_and_wet_files_are_known():
    names = ["a.warc", "a.warc.gz", "a.warc.zst", "a.wet", "a.wet.gz", "a.warc.wet.gz", "a.wet.zst"]
    assert all(name.endswith(SUFFIXES) for name in names)
    assert not any(name.endswith(SUFFIXES) for name in ("a.gz", "a.zst", "a.warc.gz.tmp"))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda r: r[: len(r) // 2], "damaged|ends with the file"),
        (lambda r: bytes([r[0] ^ 255]) + r[1:], "no WARC record starts here"),
        (lambda r: r[:-6] + bytes([r[-6] ^ 255]) + r[-5:], "damaged"),
        (lambda r: r[:150] + bytes([r[150] ^ 255]) + r[151:], "damaged"),
        (lambda r: b"no gzip at all", "no WARC record starts here"),
        (lambda r: gzip.compress(b"gzip, but no WARC record"), "no WARC record starts here"),
        (lambda r: gzip.compress(gzip.decompress(r).replace(b"HTTP/1.1 200 OK", b"GARBAGE GARBAGE")), "no HTTP status"),
        (lambda r: gzip.compress(gzip.decompress(r).replace(b"WARC-Target-URI", b"X-Other")), "no WARC-Target-URI"),
        (lambda r: gzip.compress(gzip.decompress(r)[:-200]), "record ends after"),
        (lambda r: gzip.compress(gzip.decompress(r).replace(b"</html>", b"</html>" * 9)), "record goes on after"),
    ],
    ids=["cut", "magic", "checksum", "flipped bits", "text", "other gzip", "no HTTP", "no URL", "short", "long"],
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


@pytest.mark.parametrize("stated", [b"1", b"100", b"9999", b"300000000", b"999999999999", b"-5", b"many", b""])
@pytest.mark.parametrize("packing", PACKINGS)
def test_a_wrong_content_length_costs_its_record_only(read, warc, stated, packing):
    plain = warc.crawl(3, "plain")
    plain[2] = re.sub(rb"Content-Length: \d+", b"Content-Length: " + stated, plain[2])
    responses, damages = read(b"".join(map(warc.pack[packing], plain)))
    recovered = packing != "plain" and not stated.isdigit()
    assert [r.body for r in responses] == [warc.html(n) for n in ((0, 1, 2) if recovered else (0, 2))]
    assert len(damages) == (not recovered)


def test_a_large_record_is_passed_over_with_all_that_looks_like_records_in_it(read, warc):
    inner = b"".join(warc.crawl(30, "plain"))
    large = warc.record(warc.http(inner), "http://example.org/archive.warc")
    records = [*warc.crawl(1, "plain"), large, *warc.crawl(2, "plain")[1:]]
    for packing in PACKINGS:
        for data in (b"".join(map(warc.pack[packing], records)), warc.pack[packing](b"".join(records))):
            responses, damages = read(data, max_record_bytes=5_000)
            assert [r.body for r in responses] == [warc.html(n) for n in (0, 0, 1)]
            assert [damage.reason for damage in damages] == ["record of more than the 5000 bytes that are read"]


@pytest.mark.parametrize(
    "data", [b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"WARC/1.", b"\0" * 500, b"WARC/1.0\r\n\r\n"]
)
def test_a_file_that_holds_nothing_is_one_damage(read, data):
    assert read(data)[0] == [] and len(read(data)[1]) == 1


def test_header_lines_may_end_in_line_feeds_and_be_folded(read, warc):
    folded = warc.record(warc.http(b"<p>x", headers=("X-Robots-Tag: noai,", "  noindex"))).replace(
        b"WARC-Target-URI: ", b"WARC-Target-URI:\r\n\t"
    )
    responses, _ = read(folded)
    assert (responses[0].url, responses[0].headers["x-robots-tag"]) == ("http://example.org/", "noai, noindex")
    unix = warc.record(b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n<p>x").replace(b"\r\n", b"\n")
    responses, damages = read(unix * 3)
    assert [(r.status, r.body) for r in responses] == [(200, b"<p>x")] * 3 and not damages


def test_written_pages_are_read_back_and_the_bytes_depend_on_nothing_else(tmp_path):
    pages = [(f"http://example.org/{n}", f"<p>é {n}".encode()) for n in range(3)]
    for name in ("one", "two"):
        write_responses(iter(pages), tmp_path / name, "1970-01-01T00:00:00Z")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert [(r.url, r.body) for r in read_responses(tmp_path / "one")] == pages


def test_real_pages_are_read_as_fastwarc_reads_them():
    files = sorted(SHARED_PAGES.glob("*.warc.gz"))
    if not files:
        pytest.skip(f"the shared pages are not at {SHARED_PAGES}")
    for file in files:
        peer = ArchiveIterator(str(file), record_types=WarcRecordType.response, auto_decode="all")
        expected = [(r.headers["WARC-Target-URI"], r.stream_pos, r.reader.read()) for r in peer]
        assert [(r.url, r.offset, r.body) for r in read_responses(file)] == expected


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@pytest.mark.parametrize("num_zeros", [0, 8, 500, 100_000])
def test_empty_members_and_padding_are_no_records(read, warc, packing, num_zeros):
    pages, pack = warc.crawl(4, packing)[1:], warc.pack[packing]
    between = pack(b"") + pack(b"\r\n\r\n") + bytes(num_zeros)
    responses, damages = read(pack(b"") + between.join(pages) + between)
    assert [r.body for r in responses] == [warc.html(n) for n in range(4)] and not damages


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd", "gzip as a whole"])
@pytest.mark.parametrize(
    "before, after", [("\r\n\r\n", ""), ("", "\r\n" * 9), ("\n" * 70_000, "\n"), ("\r\n", "\n\r\n")]
)
def test_blank_lines_around_records_are_no_damage(read, warc, packing, before, after):
    records = [warc.record(warc.http(warc.html(n)), f"http://example.org/{n}") for n in range(4)]
    spaced = [before.encode() + record + after.encode() for record in records]
    pack = warc.pack.get(packing, bytes)
    data = gzip.compress(b"".join(spaced)) if packing == "gzip as a whole" else b"".join(map(pack, spaced))
    responses, damages = read(data)
    assert [r.body for r in responses] == [warc.html(n) for n in range(4)] and not damages


def test_padding_that_hides_a_loss_is_damage(read, warc):
    first, second, third = warc.crawl(3)[1:]
    for data in (first + bytes(600) + second[300:] + third, bytes(600) + first + third, first[:-9] + bytes(9) + third):
        responses, damages = read(data)
        assert damages and warc.html(2) in [r.body for r in responses]


def test_a_field_that_is_repeated_alike_counts_once_and_another_type_is_damage(read, warc):
    page = warc.record(warc.http(warc.html(1)), "http://example.org/a, b")
    twice = page.replace(b"WARC-Type", b"WARC-Date: 2020-02-02T00:00:00Z\r\nWARC-Type: response\r\nWARC-Type", 1)
    twice = twice.replace(b"WARC-Target", b"WARC-Target-URI: http://example.org/a, b\r\nWARC-Target", 1)
    ((response,), damages) = read(twice)
    assert (response.url, response.date) == ("http://example.org/a, b", "2020-02-02T00:00:00Z") and not damages
    _, (damage,) = read(warc.pack["gzip"](page.replace(b"WARC-Type", b"WARC-Type: request\r\nWARC-Type", 1)))
    assert damage.reason == "several fields warc-type that differ: request, response"
