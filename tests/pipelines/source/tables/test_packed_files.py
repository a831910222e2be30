"""Compressed JSON Lines: every row before the damage is read, and the file is named."""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from contextlib import suppress
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.source.tables.rows import BrokenFileError, parquet_columns, read_json_lines

MANY = b"".join(b'{"text": "%d %s"}\n' % (n, hashlib.sha256(b"%d" % n).hexdigest().encode()) for n in range(4000))
PACK = {
    ".jsonl.gz": gzip.compress,
    ".jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".jsonl.bz2": partial(bz2.compress, compresslevel=1),
}
PACKINGS = dict(zip(("gzip", "zstd", "bz2"), PACK.values(), strict=True))
DECODERS = {
    ".jsonl.gz": lambda: zlib.decompressobj(31),
    ".jsonl.zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
    ".jsonl.bz2": bz2.BZ2Decompressor,
}


def rows_of(path) -> tuple[int, str]:
    """The number of rows of a file, and the reason if it is named as damaged."""
    numbers = []
    try:
        for row in read_json_lines(path, ["text"]):
            numbers.append(row.number)
    except BrokenFileError as error:
        return len(numbers), str(error)
    return len(numbers), ""


@pytest.mark.parametrize("ending", DECODERS)
@pytest.mark.parametrize(
    ("behind", "rows", "is_named"),
    [
        (lambda pack: bytes(64), 1, False),
        (lambda pack: bytes(200_000) + pack(MANY) + bytes(3), 2, False),
        (lambda pack: pack(b"") + pack(MANY), 2, False),
        (lambda pack: b"garbage", 1, True),
        (lambda pack: bytes(64) + b"garbage", 1, True),
        (lambda pack: pack(MANY)[:2], 1, True),
        (lambda pack: pack(MANY)[:9], 1, True),
        (lambda pack: pack(MANY) + pack(MANY)[:20], 2, True),
    ],
)
def test_rows_before_the_damage_are_read_whatever_is_behind_them(tmp_path, ending, behind, rows, is_named):
    path = tmp_path / f"a{ending}"
    path.write_bytes(PACK[ending](MANY) + behind(PACK[ending]))
    num_rows, reason = rows_of(path)
    assert (num_rows, bool(reason)) == (rows * 4000, is_named)


def _as_zip(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jsonl", content)
    return buffer.getvalue()


def _as_tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("a.jsonl")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _as_parquet(content: bytes) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": content.decode().splitlines()}), buffer)
    return buffer.getvalue()


def _as_arrow(content: bytes) -> bytes:
    table, buffer = pa.table({"text": content.decode().splitlines()}), io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


FOREIGN = {
    "xz": lzma.compress,
    "zip": _as_zip,
    "tar": _as_tar,
    "Parquet": _as_parquet,
    "Arrow": _as_arrow,
    "lz4": lambda content: b"\x04\x22\x4d\x18" + pa.compress(content, "lz4", asbytes=True),
    "SQLite": lambda content: b"SQLite format 3\0" + content,
}


@pytest.mark.parametrize("ending", [".jsonl", ".json", *DECODERS])
@pytest.mark.parametrize("name", FOREIGN)
def test_another_format_is_named_with_its_remedy_and_no_row_is_read(tmp_path, ending, name):
    path, content = tmp_path / f"a{ending}", FOREIGN[name](MANY)
    path.write_bytes(content)
    num_rows, reason = rows_of(path)
    assert num_rows == 0 and reason.startswith(f"{name}, and not JSON Lines. To mend it, ")
    for packing, pack in PACKINGS.items():
        path.write_bytes(pack(content))
        num_rows, reason = rows_of(path)
        assert num_rows == 0 and reason.startswith(f"{name} inside {packing}, and not JSON Lines. To mend it, unpack")


@pytest.mark.parametrize("outer", PACKINGS)
@pytest.mark.parametrize("inner", PACKINGS)
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_file_that_is_packed_once_is_read_and_one_packed_twice_is_named(tmp_path, outer, inner, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(PACKINGS[inner](MANY))
    assert rows_of(path) == (4000, "")
    path.write_bytes(PACKINGS[outer](PACKINGS[inner](MANY)))
    num_rows, reason = rows_of(path)
    assert num_rows == 0 and reason.startswith(f"{inner} inside {outer}, and not JSON Lines. To mend it, ")


@pytest.mark.parametrize("name", [*FOREIGN, *PACKINGS])
def test_a_parquet_file_of_another_format_is_named(tmp_path, name):
    path = tmp_path / "a.parquet"
    path.write_bytes({**FOREIGN, **PACKINGS}[name](MANY))
    if name == "Parquet":
        assert parquet_columns(path) == ["text"]
    else:
        with pytest.raises(BrokenFileError, match=f"^{name}, and not Parquet. To mend it, "):
            parquet_columns(path)


def test_a_skippable_frame_holds_no_rows_and_is_named_if_it_is_cut(tmp_path):
    path, frame = tmp_path / "a.jsonl.zst", zstandard.compress(MANY)
    skipped = b"\x53\x2a\x4d\x18\4\0\0\0abcd"
    path.write_bytes(skipped + frame + skipped + frame)
    assert rows_of(path) == (8000, "")
    path.write_bytes(frame + skipped[:-1])
    assert rows_of(path) == (4000, "damaged file: skippable zstd frame is damaged: it ends with the file")


@pytest.mark.parametrize("ending", DECODERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(64, 10**6), bits=st.integers(1, 255), cut=st.booleans())
def test_as_much_of_a_damaged_file_is_read_as_decoding_it_byte_by_byte_gives(tmp_path, ending, place, bits, cut):
    packed = bytearray(PACK[ending](MANY))
    at = 64 + place % (len(packed) - 64)
    if cut:
        del packed[at:]
    else:
        packed[at] ^= bits
    path = tmp_path / f"a{ending}"
    path.write_bytes(packed)
    decoder, decoded = DECODERS[ending](), bytearray()
    with suppress(zlib.error, OSError, EOFError, zstandard.ZstdError):
        for byte in packed:
            decoded += decoder.decompress(bytes([byte]))
    num_rows, reason = rows_of(path)
    sound = sum(1 for line in bytes(decoded).split(b"\n")[:-1] if line.strip())
    if not cut and ending == ".jsonl.zst":
        # The last block of a frame is not given out before its checksum is compared.
        sound = max(0, sound - 2**17 // 70)
    assert reason and sound <= num_rows
