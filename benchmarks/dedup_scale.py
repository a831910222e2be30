"""The whole stage on 10^5, 10^6 and 10^7 synthetic documents: memory and rate, one process for all tasks.

    python benchmarks/dedup_scale.py [--quick]

A document is 16 words of 6 bytes, so that 10^7 of them are signed in minutes; three in ten are another one with its
last word changed (J = 11/13). Peak memory is that of the process that is driver and worker at once.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import arguments, machine, report
from planted import run_stage

from arctic_model.peak_memory import peak_resident_bytes
from data_recipes.schema import DedupSection

SHARD_DOCUMENTS = 100_000
WORDS, WORD_BYTES = 16, 6
LIMIT_GB = 6
GOAL = f"10^7 documents inside {LIMIT_GB} GB"


def write_shard(number: int, folder: Path) -> None:
    """One shard of documents and the filter's decisions on them."""
    draw = np.random.default_rng(number)
    letters = draw.integers(97, 123, (SHARD_DOCUMENTS, WORDS, WORD_BYTES), dtype=np.uint8)
    letters[:, :, -1] = ord(" ")
    copies = SHARD_DOCUMENTS * 3 // 10
    originals = draw.integers(copies, SHARD_DOCUMENTS, copies)
    letters[:copies, :-1] = letters[originals, :-1]
    size = WORDS * WORD_BYTES
    offsets = pa.py_buffer(np.arange(0, (SHARD_DOCUMENTS + 1) * size, size, dtype=np.int64))
    texts = pa.LargeStringArray.from_buffers(SHARD_DOCUMENTS, offsets, pa.py_buffer(letters.tobytes()))
    digits = draw.bytes(16 * SHARD_DOCUMENTS).hex()
    ids = pa.array([digits[start : start + 32] for start in range(0, len(digits), 32)])
    origins = pa.array(["synthetic"] * SHARD_DOCUMENTS)
    for kind, table in {
        "documents": pa.table({"doc_id": ids, "text": texts, "origin": origins}),
        "filtered": pa.table({"keep": np.ones(SHARD_DOCUMENTS, bool), "quality": np.zeros(SHARD_DOCUMENTS)}),
    }.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / kind / f"{number:05d}.parquet", row_group_size=8192, compression="zstd")


def measure(num_documents: int, folder: Path) -> dict[str, float]:
    """Run the stage here, in a separate process."""
    started = time.process_time()
    metrics = run_stage(folder / "corpus", folder / "work", DedupSection())
    peak = peak_resident_bytes()
    return {
        "documents": num_documents,
        "removed": 1 - metrics["data/documents"] / metrics["data/documents_in"],
        "cpu_s": time.process_time() - started,
        "peak_gb": peak / 1e9,
    }


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(int(sys.argv[2]), Path(sys.argv[3]))))
        return
    quick = arguments(__doc__.splitlines()[0]).quick
    rows = []
    for num_documents in (100_000, 300_000) if quick else (100_000, 1_000_000, 10_000_000):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(num_documents // SHARD_DOCUMENTS):
                write_shard(number, Path(folder) / "corpus")
            command = [sys.executable, __file__, "--measure", str(num_documents), folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            rows[-1]["disk_gb"] = sum(f.stat().st_size for f in (Path(folder) / "work").rglob("*") if f.is_file()) / 1e9
            shutil.rmtree(Path(folder) / "work")
    print(machine("numba", "pyarrow"))
    print("| documents | removed | CPU s | microseconds a document | peak GB | GB on disk |\n|---|---|---|---|---|---|")
    for row in rows:
        each = row["cpu_s"] / row["documents"] * 1e6
        print(
            f"| {row['documents']:,} | {row['removed']:.1%} | {row['cpu_s']:.0f} | {each:.1f} | {row['peak_gb']:.2f} | "
            f"{row['disk_gb']:.1f} |"
        )
    last = rows[-1]
    report("dedup_scale", last["peak_gb"], {}, "GB at peak", last["peak_gb"] / LIMIT_GB, GOAL)


if __name__ == "__main__":
    main()
