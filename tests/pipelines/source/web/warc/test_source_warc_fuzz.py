"""WARC files with any bytes changed: never a crash, every record that is still whole is read, every loss is
reported."""

import gzip
import hashlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from pipelines.source.io import members

NUM_PAGES = 6
MAGICS = [
    b"WARC/1.0\r\n",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"\x5d\x2a\x4d\x18",
    b"\r\n\r\n",
    b"Content-Length: 9\r\n",
]

OTHER_FORMATS = (b"filedesc:", b"\x04\x22\x4d\x18")
"""How ARC and LZ4 begin: hypothesis takes them from the sources."""

places = st.floats(0, 1, exclude_max=True)
rubbish = st.binary(max_size=12) | st.sampled_from(MAGICS)
edits = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(1, 255)),
    st.tuples(st.just("insert"), places, rubbish),
    st.tuples(st.just("drop"), places, st.integers(1, 700)),
    st.tuples(st.just("repeat"), places, st.integers(1, 1500), places),
    st.tuples(st.just("move"), places, st.integers(1, 1500), places),
    st.tuples(st.just("cut"), places),
)


def harmed(data: bytes, edit: tuple) -> bytes:
    kind, location, *how = edit
    at = int(location * len(data))
    match kind, how:
        case "flip", [mask] if data:
            return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
        case "insert", [new]:
            return data[:at] + new + data[at:]
        case "drop", [size]:
            return data[:at] + data[at + size :]
        case "repeat", [size, other]:
            to = int(other * len(data))
            return data[:to] + data[at : at + size] + data[to:]
        case "move", [size, other]:
            rest = data[:at] + data[at + size :]
            to = int(other * len(rest))
            return rest[:to] + data[at : at + size] + rest[to:]
        case "cut", []:
            return data[:at]
    return data


def outside(data: bytes, responses: list) -> bytes:
    """The bytes of `data` that belong to no response."""
    rest = bytearray(data)
    for each in sorted(responses, key=lambda response: response.offset, reverse=True):
        del rest[each.offset : each.offset + each.length]
    return bytes(rest)


@pytest.fixture(scope="session")
def page(warc) -> Callable[[int], bytes]:
    """A page that does not compress to nothing; the higher its number, the longer."""

    def page(number: int) -> bytes:
        noise = b"".join(hashlib.sha256(b"%d %d" % (number, n)).hexdigest().encode() for n in range(6 + number))
        return warc.html(number) + noise

    return page


@pytest.fixture(scope="session")
def stored(warc, page) -> Callable[[str], list[bytes]]:
    def stored(packing: str) -> list[bytes]:
        return [
            warc.pack[packing](warc.record(warc.http(page(n)), f"http://example.org/{n}")) for n in range(NUM_PAGES)
        ]

    return stored


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(edits, min_size=1, max_size=5))
@example(changes=[("drop", 0.5, 242)])  # the rest of a page reaches to the end of the next record's header
@example(changes=[("repeat", 0.84375, 1, 0.0)])  # a blank line before the first record
@example(changes=[("move", 0.99999, 1, 0.0)])  # the same, from the end
def test_every_record_that_is_still_whole_is_read_and_every_loss_is_told(read, stored, page, packing, changes):
    records = stored(packing)
    data = b"".join(records)
    for change in changes:
        data = harmed(data, change)
    assume(not data.startswith(OTHER_FORMATS))
    responses, damages = read(data)
    bodies = {r.body for r in responses}
    assert all(page(n) in bodies for n in range(NUM_PAGES) if records[n] in data)
    assert all(0 <= result.offset <= len(data) for result in (*responses, *damages))
    assert all(0 < r.length <= len(data) - r.offset for r in responses if r.member is None)
    assert all(damage.reason for damage in damages)
    if not damages:
        assert outside(data, responses).strip(b"\r\n") == b""
    if packing != "plain":
        assert bodies <= {page(n) for n in range(NUM_PAGES)}


@pytest.mark.parametrize("kind", ["response", "resource", "conversion"])
def test_a_flipped_bit_of_the_headers_loses_no_page_in_silence(read, warc, kind) -> None:
    content_type = {"response": "application/http", "resource": "text/html", "conversion": "text/plain"}[kind]
    block = warc.http(warc.html(1)) if kind == "response" else warc.html(1)
    whole = b"".join(warc.record(block, f"http://example.org/{n}", kind, content_type) for n in range(2))
    for bit in range(8 * whole.index(b"\r\n\r\n")):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        responses, damages = read(bytes(data))
        assert len(responses) == 2 or damages, f"bit {bit}: {bytes(data[: bit // 8 + 1])!r}"


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(edits, min_size=1, max_size=3), max_record_bytes=st.sampled_from([1500, 2**24]))
def test_a_file_compressed_as_a_whole_is_read_up_to_its_damage(
    read, warc, page, stored, packing, changes, max_record_bytes
):
    data = whole = warc.pack[packing](b"".join(stored("plain")))
    for change in changes:
        data = harmed(data, change)
    responses, damages = read(data, max_record_bytes=max_record_bytes)
    assert damages or data.count(whole[:100]) * NUM_PAGES == len(responses)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(edits, max_size=3),
    read_bytes=st.integers(200, 3000),
    packing=st.sampled_from(["plain", "gzip", "zstd"]),
)
def test_what_is_found_does_not_depend_on_the_size_of_reads(read, stored, changes, read_bytes, packing):
    data = b"".join(stored(packing)) + gzip.compress(b"".join(stored("plain")))
    for change in changes:
        data = harmed(data, change)
    result = read(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "READ_BYTES", read_bytes)
        assert read(data) == result


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(max_size=40) | st.sampled_from(MAGICS), max_size=30))
def test_any_bytes_are_a_file_that_is_read_to_its_end(read, pieces):
    responses, damages = read(b"".join(pieces))
    assert damages or responses or not any(pieces) or b"WARC/1.0" in b"".join(pieces)
