"""Raw MB/s per core of reading WARC files, stored in four ways, against fastwarc alone and with its digest check.

The pages are those shared beside the repository. Ours cuts records apart so that damage stays local, checks digests,
and decodes bodies; fastwarc alone does the last only.
"""

import gzip
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import zstandard
from fastwarc import ArchiveIterator, WarcRecordType
from harness import Timing, arguments, interleave, machine, one_core, report

from pipelines.source.web.warc.records import Record, cut_records
from pipelines.source.web.warc.responses import read_responses
from tests.kit.real_data import REAL_DATA

PAGES = REAL_DATA / "web"
LIMIT = 2**24
GOAL = "gzip by record at 150 raw MB/s per core or more"


def main() -> None:
    quick = arguments(__doc__ or "").quick
    one_core()
    repeats = 3 if quick else 5
    sources = sorted(PAGES.glob("*.warc.gz"))[: 1 if quick else None]
    with tempfile.TemporaryDirectory() as folder:
        files = store(sources, Path(folder))
        raw_bytes = files["plain"].stat().st_size
        timings = interleave(contenders(files), repeats)
    print(f"\n{machine('fastwarc')}; {raw_bytes / 1e6:.1f} MB of raw records, {repeats} repeats\n")
    print("| stored as | ours | fastwarc, digests checked | fastwarc | ours / checked |\n|---|---|---|---|---|")
    rates = {name: raw_bytes / 1e6 / timing.median for name, timing in timings.items()}
    for kind in files:
        ours, checked, alone = (cell(timings[f"{kind} {who}"], raw_bytes) for who in ("ours", "checked", "alone"))
        print(f"| {kind} | {ours} | {checked} | {alone} | {rates[f'{kind} ours'] / rates[f'{kind} checked']:.2f} |")
    peers = {name: rate for name, rate in rates.items() if name != "gzip by record ours"}
    ours = rates["gzip by record ours"]
    report("warc_reading", ours, peers, "raw MB/s per core", ours / rates["gzip by record checked"], GOAL)


def store(sources: list[Path], folder: Path) -> dict[str, Path]:
    """The records of `sources` stored in each way, in one file each."""
    with_places = (cut_records(source.open("rb"), LIMIT) for source in sources)
    count = sum(isinstance(result, Record) for result in chain.from_iterable(with_places))
    plain = [gzip.decompress(source.read_bytes()) for source in sources]
    records = [b"WARC/1.0\r\n" + part for part in b"".join(plain).split(b"WARC/1.0\r\n")[1:]]
    if len(records) != count:
        raise RuntimeError(f"the pages of {PAGES} hold {count} records and {len(records)} starts of records")
    packed = {
        "plain": b"".join(records),
        "gzip by record": b"".join(map(gzip.compress, records)),
        "zstd by record": b"".join(map(zstandard.ZstdCompressor(write_checksum=True).compress, records)),
        "gzip as a whole": gzip.compress(b"".join(records)),
    }
    paths = {name: folder / f"{name.replace(' ', '_')}.warc" for name in packed}
    for name, path in paths.items():
        path.write_bytes(packed[name])
    return paths


def contenders(files: dict[str, Path]) -> dict[str, Callable[[], object]]:
    made: dict[str, Callable[[], object]] = {}
    for kind, path in files.items():
        made[f"{kind} ours"] = partial(read_all, path)
        made[f"{kind} checked"] = partial(read_with_fastwarc, path, True)
        made[f"{kind} alone"] = partial(read_with_fastwarc, path, False)
    return made


def read_all(path: Path) -> int:
    return sum(1 for _ in read_responses(path))


def read_with_fastwarc(path: Path, verify_digests: bool) -> int:
    records = ArchiveIterator(
        str(path), record_types=WarcRecordType.response, auto_decode="all", verify_digests=verify_digests
    )
    return sum(len(record.reader.read()) > 0 for record in records)


def cell(timing: Timing, raw_bytes: int) -> str:
    return f"{raw_bytes / 1e6 / timing.median:.0f} (±{timing.spread / 2:.0%})"


if __name__ == "__main__":
    main()
