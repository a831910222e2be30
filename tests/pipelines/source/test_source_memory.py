"""Memory of a worker that reads WARC files: it depends on the largest record and never on the file."""

import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import zstandard

ROOT = Path(__file__).parents[3]
MEGABYTES = 2**20
WORKER_BYTES = 1500 * MEGABYTES
MEASURE = """
import json, sys
from pathlib import Path
from arctic_model.peak_memory import peak_resident_bytes
from pipelines.source.shards import Shard, read_shard
from pipelines.source.web.warc.responses import Response, read_responses
from pipelines.source.web.warc_files import read_pages

class Pages:
    def read(self, reading):
        read_pages(path, reading)

path, out = Path(sys.argv[1]), Path(sys.argv[2])
if out.name == "read_only":
    documents = sum(isinstance(found, Response) for found in read_responses(path))
else:
    documents = read_shard(Shard(0, Pages(), sys.argv[3], 0.0), out).metrics.get("documents", 0)
print(json.dumps([documents, peak_resident_bytes()]))
"""


def measured(path: Path, out: Path, extractor: str = "all_text") -> tuple[int, int]:
    """Documents, and the largest resident size in bytes, of a process that does nothing but read `path`."""
    command = [sys.executable, "-c", MEASURE, str(path), str(out), extractor]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    documents, resident = json.loads(finished.stdout)
    return documents, resident


def pages(warc, num_bytes: int) -> Iterator[bytes]:
    """Records of 100 kB, most of it script as on real pages, a hundred different ones, `num_bytes` in all."""
    script = b"<script>" + b"".join(b"state.k%d = %d;" % (n, zlib.crc32(b"%d" % n)) for n in range(4500)) + b"</script>"
    records = [warc.record(warc.http(warc.html(n) + script), f"http://example.org/{n}") for n in range(100)]
    for number in range(num_bytes // len(records[0])):
        yield records[number % len(records)]


def by_record(warc, path: Path, num_bytes: int) -> int:
    packed: dict[bytes, bytes] = {}
    with path.open("wb") as file:
        return sum(
            file.write(packed.setdefault(record, gzip.compress(record, 1))) > 0 for record in pages(warc, num_bytes)
        )


def as_a_whole(open_file: Callable) -> Callable[..., int]:
    def write(warc, path: Path, num_bytes: int) -> int:
        with open_file(path) as file:
            return sum(file.write(record) > 0 for record in pages(warc, num_bytes))

    return write


@pytest.mark.slow
def test_two_gigabytes_of_pages_take_no_more_memory_than_a_tenth_of_them(tmp_path, warc):
    peaks = []
    for size in (200 * MEGABYTES, 2000 * MEGABYTES):
        written = by_record(warc, tmp_path / "crawl.warc.gz", size)
        documents, resident = measured(tmp_path / "crawl.warc.gz", tmp_path / f"{size}")
        assert documents == written > size // 120_000
        peaks.append(resident)
    assert peaks[1] < peaks[0] + 50 * MEGABYTES < WORKER_BYTES


@pytest.mark.slow
@pytest.mark.parametrize(
    "write",
    [
        as_a_whole(partial(open, mode="wb")),
        as_a_whole(partial(gzip.open, mode="wb", compresslevel=1)),
        as_a_whole(partial(zstandard.open, mode="wb")),
    ],
    ids=["plain", "gzip", "zstd"],
)
def test_a_file_that_is_stored_as_a_whole_is_streamed(tmp_path, warc, write):
    peaks = []
    for size in (50 * MEGABYTES, 400 * MEGABYTES):
        written = write(warc, tmp_path / "crawl.warc", size)
        documents, resident = measured(tmp_path / "crawl.warc", tmp_path / "read_only")
        assert documents == written
        peaks.append(resident)
    assert peaks[1] < peaks[0] + 10 * MEGABYTES


@pytest.mark.slow
@pytest.mark.parametrize("extractor", ["cascade", "main_content", "all_text"])
def test_pages_as_large_as_are_read_and_larger_fit_into_a_worker(tmp_path, warc, extractor):
    tags = b"<div><p>The river rose in the night, and the people went to the bridge with their lamps.</p></div>"
    largest = tags * (16_770_000 // len(tags))
    bomb = warc.http(gzip.compress(bytes(100 * MEGABYTES)), headers=("Content-Encoding: gzip",))
    stored = [warc.http(largest), warc.http(tags * (100 * MEGABYTES // len(tags))), bomb, warc.http(warc.html(1))]
    path = tmp_path / "crawl.warc.gz"
    path.write_bytes(b"".join(gzip.compress(warc.record(block), 1) for block in stored))
    documents, resident = measured(path, tmp_path / "out", extractor)
    assert documents == 2
    assert resident < WORKER_BYTES
