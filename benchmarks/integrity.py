"""What it costs to check committed bytes where they are read, as a share of each data stage's CPU time.

    python benchmarks/integrity.py [--quick]

A corpus of this machine's texts goes through the data stages, built as `arctic run` builds them, but in this process.
The time of every check of a digest is added up. Checksums of Parquet pages are computed inside Arrow: their time is the
number of bytes written, and of the columns read, times rates that are measured here. It is an upper bound: what is read
to be checked would be read anyway. A check costs the same whatever the stage does with the bytes, so each stage is also
held against the bytes that it reads and writes: the checks' share of a stage that computes for long is what is left.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Timing, arguments, interleave, machine, one_core, report
from machine_text import machine_texts

from data_recipes.load import load_run
from infra.artifact import Artifact
from infra.runner import build
from infra.stage import Stage
from infra.store import Store
from pipelines.artifacts.formats import parquet
from pipelines.graph.chain import run_graph

GOAL = 0.02
STAGES = ("source", "score", "filter", "dedup", "tokenizer", "tokenize", "mix")
CHECKS = ("require_intact_footer", "require_intact", "read_committed")
NUM_FILES = 2
PROBE_BYTES = 2**25
CORPUS = """
name = "texts"
description = "Texts of this machine"
[source]
inputs = [{ kind = "jsonl", paths = ["in"], url_field = "url" }]
"""
RUN = """
name = "integrity"
description = "The data stages of one corpus"
corpora = ["texts.toml"]
[tokenizer]
vocab_size = 4096
sample_bytes_per_corpus = 2_000_000
[tokenize]
sequence_length = 512
[[phases]]
name = "one"
tokens = 1_048_576
weights = { texts = 1.0 }
[model]
preset = "quickstart"
[train]
global_batch_sequences = 8
micro_batch_sequences = 4
peak_lr = 0.01
[evaluate]
heldout_bytes_per_corpus = 80_000
"""


class Meter:
    """CPU seconds of checks and how many there were, and bytes of Parquet pages that were read."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.num_checks = self.read_bytes = 0
        self._depth = 0

    def metered(self, check: Callable[[Path], Any]) -> Callable[[Path], Any]:
        @wraps(check)
        def timed(file: Path) -> Any:
            self._depth += 1
            started = time.process_time()
            try:
                return check(file)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.process_time() - started
                    self.num_checks += 1

        return timed

    def counted(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """`read`, with the bytes of the columns that it is asked for, of all row groups or of one."""

        @wraps(read)
        def counting(source: Any, *args: Any, columns: Sequence[str] | None = None, **options: Any) -> Any:
            metadata = pq.read_metadata(source) if isinstance(source, Path) else source.metadata
            groups = args if read.__name__ == "read_row_group" else range(metadata.num_row_groups)
            for number in groups:
                group = metadata.row_group(number)
                chunks = map(group.column, range(group.num_columns))
                self.read_bytes += sum(
                    chunk.total_compressed_size
                    for chunk in chunks
                    if columns is None or chunk.path_in_schema.partition(".")[0] in columns
                )
            return read(source, *args, columns=columns, **options)

        return counting


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    one_core()
    pa.set_cpu_count(1)
    writing, reading = checksum_rates()
    shares: dict[str, list[float]] = {name: [] for name in STAGES}
    seconds: dict[str, list[float]] = {name: [] for name in STAGES}
    last: dict[str, Mapping[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        write_inputs(machine_texts(400 if quick else 6000), home)
        for turn in range(2 if quick else 3):
            for stage, cost in build_all(home, home / f"store-{turn}").items():
                checks = cost["checks"] + writing * cost["written"] + reading * cost["read"]
                shares[stage].append(checks / cost["seconds"])
                seconds[stage].append(cost["seconds"])
                last[stage] = cost
    print(machine("pyarrow"))
    print(f"checksums of pages: {writing * 1e9:.2f} ns a byte to write, {reading * 1e9:.2f} to verify\n")
    print("| stage | CPU s | checks | spread | MB read and written | ns a byte | digests | us each |")
    print("|---|---|---|---|---|---|---|---|")
    for stage in STAGES:
        deviation = max(shares[stage]) - min(shares[stage])
        cost = last[stage]
        moved, each = cost["read"] + cost["written"], cost["checks"] / max(cost["count"], 1)
        rate = median(seconds[stage]) / moved if moved else 0
        print(
            f"| {stage} | {median(seconds[stage]):.3f} | {median(shares[stage]):.2%} | {deviation:.2%} "
            f"| {moved / 1e6:.2f} | {1e9 * rate:.1f} | {cost['count']:.0f} | {1e6 * each:.0f} |"
        )
    total = sum(median(shares[stage]) * median(seconds[stage]) for stage in STAGES)
    whole = total / sum(median(seconds[stage]) for stage in STAGES)
    print(f"\nall stages: {whole:.2%}")
    worst = max(median(shares[stage]) for stage in STAGES)
    report("integrity", worst, {"all stages": whole}, "share of a stage", worst / GOAL, "below 2 % of each stage")


def checksum_rates() -> tuple[float, float]:
    """CPU seconds a byte of the checksums of pages, as they are written and as they are verified."""
    rows = np.random.default_rng(0).integers(0, 2**63, PROBE_BYTES // 8)
    table = pa.table({"number": rows})

    def write(checksum: bool) -> pa.Buffer:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="none", use_dictionary=False, write_page_checksum=checksum)
        return sink.getvalue()

    written = write(True)

    def read(checksum: bool) -> None:
        pq.ParquetFile(pa.BufferReader(written), page_checksum_verification=checksum).read(use_threads=False)

    timings = interleave(
        {
            "write": lambda: write(False),
            "write checked": lambda: write(True),
            "read": lambda: read(False),
            "read checked": lambda: read(True),
        },
        9,
    )

    def added(checked: Timing, plain: Timing) -> float:
        return (checked.median - plain.median) / written.size

    return added(timings["write checked"], timings["write"]), added(timings["read checked"], timings["read"])


def write_inputs(texts: list[str], home: Path) -> None:
    (home / "in").mkdir()
    for number in range(NUM_FILES):
        rows = (
            json.dumps({"text": text, "url": f"https://host-{location % 50}.example/{number}/{location}"}) + "\n"
            for location, text in enumerate(texts[number::NUM_FILES])
        )
        (home / "in" / f"{number}.jsonl").write_text("".join(rows), encoding="utf-8")
    (home / "texts.toml").write_text(CORPUS, encoding="utf-8")
    (home / "run.toml").write_text(RUN, encoding="utf-8")


def build_all(home: Path, folder: Path) -> dict[str, Mapping[str, float]]:
    """Build the data stages in a new store; their costs by name."""
    run, corpora = load_run(home / "run.toml")
    store, built, costs = Store(folder).open(), dict[str, Artifact](), dict[str, Mapping[str, float]]()

    def made(stage: Stage) -> Artifact:
        if stage.key not in built:
            inputs = [made(each) for each in stage.inputs.values()]
            meter = Meter()
            with ExitStack() as patches:
                meter_checks(meter, patches)
                started = time.process_time()
                built[stage.key] = build(stage, store, lambda event: None, None, *inputs)
                elapsed = time.process_time() - started
            written = sum(file.bytes for file in built[stage.key].manifest.files if file.path.endswith(".parquet"))
            costs[stage.name] = {
                "seconds": elapsed,
                "checks": meter.seconds,
                "count": meter.num_checks,
                "read": meter.read_bytes,
                "written": written,
            }
        return built[stage.key]

    for stage in run_graph(run, corpora, home / "run.toml").stages.values():
        if stage.name in STAGES:
            made(stage)
    return costs


def meter_checks(meter: Meter, patches: ExitStack) -> None:
    """Have `meter` time every check, under whatever name a module imported it."""
    for module in [*sys.modules.values()]:
        if module.__name__.startswith("pipelines.") or module is parquet:
            for name in CHECKS:
                if hasattr(module, name):
                    patches.enter_context(patch.object(module, name, meter.metered(getattr(module, name))))
            if hasattr(module, "read_table"):
                patches.enter_context(patch.object(module, "read_table", meter.counted(parquet.read_table)))
    for name in ("iter_batches", "read_row_group"):
        read = meter.counted(getattr(parquet.ParquetFile, name))
        patches.enter_context(patch.object(parquet.ParquetFile, name, read))


if __name__ == "__main__":
    main()
