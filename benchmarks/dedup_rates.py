"""Rates of the single steps of deduplication, on one core, as docs/explanation/deduplication.md uses them.

python benchmarks/dedup_rates.py [--quick]
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import arguments, interleave, machine, one_core, report
from machine_text import machine_texts

from pipelines.dedup import index, kernels
from pipelines.dedup.index import RECORD, Unit
from pipelines.dedup.minhash import portions, shingle, signatures
from pipelines.dedup.passes.buckets import JoinRange
from pipelines.dedup.passes.regroup import write_sets

BANDS = 16


def compare(sets: list[np.ndarray]) -> None:
    """Every text of even number with the next: one bucket each, nothing passed over."""
    count = len(sets) // 2 * 2
    starts = np.append(0, np.cumsum([len(each) for each in sets[:count]]))
    kernels.resolve(  # type: ignore[call-arg]
        np.zeros(count, bool),
        np.arange(count + 1),
        np.arange(count) // 2,
        np.full(count, -1),
        np.arange(0, count + 1, 2),
        np.zeros((count, BANDS), np.uint64),
        8,
        0,
        starts,
        np.concatenate(sets[:count]),
        np.array([2.0, 2.0]),
        np.empty(count, np.int64),
        np.zeros(count // 2, np.int64),
        np.full(count, -1),
        np.empty(count, np.int64),
        np.zeros((count, 3), np.int32),
    )


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    one_core()
    texts = machine_texts(1000 if quick else 5000)
    table = pa.array(texts, pa.large_string())
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    num_documents = 100_000 if quick else 500_000
    draw = np.random.default_rng(0)
    words = draw.integers(0, 2**63, (num_documents, BANDS), dtype=np.uint64)
    words[: num_documents * 3 // 10] = words[draw.integers(0, num_documents, num_documents * 3 // 10)]
    one, other = draw.integers(0, num_documents, (2, num_documents)).astype(np.uint32)
    shingles = shingle(table, 5)
    sets = [np.unique(each) for each in np.split(shingles.hashes, np.cumsum(shingles.counts)[:-1])]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        pq.write_table(pa.table({"text": table}), home / "texts.parquet", compression="zstd", row_group_size=1024)
        index.save(home / "index" / "00000", np.zeros(num_documents, RECORD), words)
        index.save_run(home / "runs" / "00000", words)
        unit = Unit(0, 0, 0, False, home / "texts.parquet", home / "index" / "00000")
        join = JoinRange(0, 1, 0, home / "runs", [unit])
        rows = num_documents * BANDS

        def run_join() -> None:
            with tempfile.TemporaryDirectory() as out:
                join.run(Path(out))

        def sign() -> None:
            for start, stop in portions(table):
                signatures(shingle(table.slice(start, stop - start), 5), 128, 1)

        every_row = np.arange(len(texts))
        steps: dict[str, tuple[Callable[[], object], float, str]] = {
            "read zstd Parquet": (lambda: pq.read_table(home / "texts.parquet"), megabytes, "MB/s"),
            "sign": (sign, megabytes, "MB/s"),
            "read and write shingle sets": (
                lambda: write_sets(home / "texts.parquet", every_row, 5, home / "sets"),
                megabytes,
                "MB/s",
            ),
            "sort a run": (lambda: index.save_run(home / "runs" / "00001", words), rows / 1e6, "M rows/s"),
            "join a range": (run_join, rows / 1e6, "M rows/s"),
            "unite": (
                lambda: kernels.unite(np.arange(num_documents, dtype=np.uint32), one, other),
                num_documents / 1e6,
                "M edges/s",
            ),
            "compare two texts": (lambda: compare(sets), len(texts) // 2 / 1e3, "thousand pairs/s"),
        }
        timings = interleave({name: work for name, (work, _, _) in steps.items()}, 3 if quick else 5)
    print(machine("numba", "pyarrow", "numpy"))
    print(f"{len(texts):,} texts of {megabytes / len(texts) * 1e3:.1f} kB; {rows:,} rows\n")
    print("| step | rate per core | spread |\n|---|---|---|")
    for name, (_, amount, unit_name) in steps.items():
        timing = timings[name]
        print(f"| {name} | {amount / timing.median:,.1f} {unit_name} | {timing.spread:.0%} |")
    report(
        "dedup_rates", megabytes / timings["sign"].median, {}, "MB/s per core", 1.0, "none: rates for the arithmetic"
    )


if __name__ == "__main__":
    main()
