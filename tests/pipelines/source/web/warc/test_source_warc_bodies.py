"""Bodies of stored responses: decoded from their real encodings, regardless of the stated ones, and matching their
digests."""

import base64
import gzip
import hashlib
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipelines.source.web.warc.http import decode_body, digest_differs, parse_http

PAGE = b"<!doctype html><p>" + b"".join(b"The river rose %d times. " % n for n in range(500))


def chunked(body: bytes, size: int = 1000) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(body) + encoder.flush()


ENCODE = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "GZIP": lambda body: gzip.compress(body[:3000]) + gzip.compress(body[3000:]) + b"\0\0\0",
    "identity": bytes,
    "utf-8": bytes,
}


def decoded(body: bytes, encoding: str = "", transfer: str = "", *, limit: int = 10**6, cut: bool = False) -> bytes:
    headers = {"content-type": "text/html", "content-encoding": encoding, "transfer-encoding": transfer}
    return decode_body({name: value for name, value in headers.items() if value}, body, limit, cut)


@pytest.mark.parametrize("encoding", ENCODE)
@pytest.mark.parametrize("transfer", ["", "chunked"])
def test_bodies_are_decoded(encoding, transfer):
    body = ENCODE[encoding](PAGE)
    assert decoded(chunked(body) if transfer else body, encoding, transfer) == PAGE


@pytest.mark.parametrize("encoding", ENCODE)
@pytest.mark.parametrize("transfer", ["", "chunked"])
def test_a_plain_body_that_is_stated_to_be_encoded_is_taken_as_it_is(encoding, transfer):
    assert decoded(PAGE, encoding, transfer) == PAGE


@pytest.mark.parametrize(
    ("body", "encoding", "transfer"),
    [
        (gzip.compress(gzip.compress(PAGE, mtime=0), mtime=0), "gzip, gzip", ""),
        (gzip.compress(gzip.compress(PAGE, mtime=0), mtime=0), "gzip", ""),
        (gzip.compress(PAGE, mtime=0), "", ""),
        (brotli.compress(gzip.compress(PAGE, mtime=0)), "gzip, br", ""),
        (chunked(gzip.compress(PAGE, mtime=0)), "", "gzip, chunked"),
        (chunked(zlib.compress(PAGE)), "deflate", "Chunked"),
    ],
    ids=["twice", "twice but stated once", "not stated", "two kinds", "transfer", "both"],
)
def test_several_encodings_are_undone_in_turn(body, encoding, transfer):
    assert decoded(body, encoding, transfer) == PAGE


def test_rubbish_behind_a_gzip_body_does_not_cost_it():
    assert decoded(gzip.compress(PAGE) + b"rubbish", "gzip") == PAGE


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "chunked"])
def test_a_torn_body_is_damaged_unless_the_record_says_that_it_was_cut(encoding):
    noisy = b"".join(hashlib.sha256(b"%d" % n).hexdigest().encode() for n in range(3000))
    stated = ("", "chunked") if encoding == "chunked" else (encoding, "")
    torn = (chunked if encoding == "chunked" else ENCODE[encoding])(noisy)[:-1000]
    with pytest.raises(ValueError, match=f"body is not in its encoding {encoding}|body ends"):
        decoded(torn, *stated)
    result = decoded(torn, *stated, cut=True)
    assert result and noisy.startswith(result)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "Deflate", "br", "zstd"])
def test_a_bomb_is_decoded_up_to_the_limit_only(encoding):
    bomb = ENCODE[encoding](bytes(2**23))
    assert len(bomb) < 2**14
    with pytest.raises(ValueError, match="body decodes to more than the 10000 bytes"):
        decoded(bomb, encoding, limit=10_000)
    assert decoded(ENCODE[encoding](bytes(10_000)), encoding, limit=10_000) == bytes(10_000)


@given(
    st.binary(max_size=300) | st.sampled_from([encode(PAGE) for encode in ENCODE.values()]),
    st.integers(0, 400),
    st.lists(st.sampled_from([*ENCODE, "nonsense", ""]), max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_any_body_decodes_within_the_limit_or_is_damaged(body, end, encodings, is_chunked, cut):
    try:
        result = decoded(
            body[:-end] if end else body, ",".join(encodings), "chunked" * is_chunked, limit=20_000, cut=cut
        )
    except ValueError as error:
        assert str(error).startswith("body ")
        return
    assert len(result) <= 20_000


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.0 404", 404),
        ("HTTP/2 200", 200),
        ("HTTP/2.0 301 ", 301),
        ("HTTP/3 204 a: b", 204),
    ],
)
def test_status_lines_of_every_version_are_read(line, status):
    block = f"{line}\r\nServer: x\r\n\r\nbody".encode()
    assert parse_http(block) == (status, {"server": "x"}, b"body")
    assert parse_http(f"{line}\r\nServer: x".encode()) == (status, {"server": "x"}, b"")


@pytest.mark.parametrize(
    "interim",
    [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
        "HTTP/1.1 100\n\nHTTP/2 103\n\n",
        100_000 * "HTTP/1.1 102 Processing\r\n\r\n",
    ],
    ids=["continue", "hints", "two", "many"],
)
def test_the_response_is_the_one_behind_interim_responses(interim):
    assert parse_http(f"{interim}HTTP/1.1 200 OK\r\nServer: x\r\n\r\nbody".encode()) == (200, {"server": "x"}, b"body")
    status, _, body = parse_http(f"{interim}<html>".encode())
    assert status < 200
    assert body == b"<html>"


@pytest.mark.parametrize(
    "block", [b"", b"200 OK\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"<html>"]
)
def test_a_block_without_status_line_is_no_response(block):
    with pytest.raises(ValueError, match="no HTTP status line"):
        parse_http(block)


def test_headers_are_text_in_utf8_or_latin1():
    assert parse_http("HTTP/1.1 200 OK\r\nTitle: Fluß".encode())[1] == {"title": "Fluß"}
    assert parse_http("HTTP/1.1 200 OK\r\nTitle: Fluß".encode("latin-1"))[1] == {"title": "Fluß"}


DIGESTS = {
    "sha1 base32": lambda content: "sha1:" + base64.b32encode(hashlib.sha1(content).digest()).decode(),
    "sha1 hex": lambda content: "SHA-1:" + hashlib.sha1(content).hexdigest(),
    "sha256 base32": lambda content: "sha256:" + base64.b32encode(hashlib.sha256(content).digest()).decode(),
    "sha256 hex": lambda content: "sha-256:" + hashlib.sha256(content).hexdigest().upper(),
    "md5 base32": lambda content: "md5:" + base64.b32encode(hashlib.md5(content).digest()).decode().lower(),
    "md5 hex": lambda content: "md5: " + hashlib.md5(content).hexdigest(),
}


@pytest.mark.parametrize("name", DIGESTS)
@given(content=st.binary(max_size=50))
def test_a_digest_tells_one_content_from_others(name, content):
    stated = DIGESTS[name](content)
    assert not digest_differs(stated, content)
    assert digest_differs(stated, content + b"x", content + b"y")
    assert not digest_differs(stated, b"other", content)


@pytest.mark.parametrize(
    "stated", [None, "", "sha1", "sha1:short", "crc32:0011", "sha1:" + "!" * 32, "sha1:" + "g" * 40]
)
def test_a_digest_that_cannot_be_understood_says_nothing(stated):
    assert not digest_differs(stated, b"content")


@pytest.mark.parametrize("field", ["WARC-Block-Digest", "WARC-Payload-Digest"])
def test_a_record_that_is_not_what_its_digest_says_is_damaged(read, warc, field):
    blocks = [warc.http(warc.html(n)) for n in range(3)]
    whole = blocks if "Block" in field else [warc.html(n) for n in range(3)]
    fields = [(f"{field}: {DIGESTS['sha1 base32'](content)}",) for content in whole]
    sound = b"".join(warc.record(block, fields=stated) for block, stated in zip(blocks, fields, strict=True))
    assert [len(result) for result in read(sound)] == [3, 0]
    wrong = sound.replace(b"This is page 1", b"This is page 7")
    responses, damages = read(wrong)
    assert [r.body for r in responses] == [warc.html(0), warc.html(2)]
    assert [damage.reason.partition("from its ")[2] for damage in damages] == [field]


def test_a_payload_digest_may_be_taken_before_or_after_decoding_and_of_a_body_that_was_cut_later(read, warc):
    sent = chunked(gzip.compress(PAGE))
    block = warc.http(sent, headers=("Transfer-Encoding: chunked", "Content-Encoding: gzip"))
    for content in (sent, PAGE):
        stated = f"WARC-Payload-Digest: {DIGESTS['sha1 base32'](content)}"
        assert [len(result) for result in read(warc.record(block, fields=(stated,)))] == [1, 0]
    cut = ("WARC-Truncated: length", f"WARC-Payload-Digest: {DIGESTS['sha1 hex'](PAGE)}")
    responses, damages = read(warc.record(warc.http(PAGE[:-100]), fields=cut))
    assert [r.body for r in responses] == [PAGE[:-100]] and not damages


def test_bodies_beyond_the_limit_are_set_aside_one_by_one(read, warc):
    bomb = warc.record(warc.http(gzip.compress(b"a" * 10**7, 9)[:9_000], headers=("Content-Encoding: gzip",)))
    large = warc.record(warc.http(b"a" * 20_000))
    growing = warc.record(warc.http(gzip.compress(b"a" * 50_000), headers=("Content-Encoding: gzip",)))
    stored = b"".join(map(gzip.compress, (bomb, large, growing))) + warc.crawl(1)[1]
    responses, damages = read(stored, max_record_bytes=10_000)
    assert len(responses) == 1
    assert [damage.reason.partition(" than")[0] for damage in damages] == [
        "body decodes to more",
        "record of more",
        "body decodes to more",
    ]
    assert [damage.member for damage in damages] == [None] * 3
