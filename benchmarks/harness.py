"""Shared by all benchmarks: contenders in turn, median and spread, the machine, one JSON object as last line."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

# Python puts the folder of the script on its path, and not the one that holds `tests`.
sys.path.insert(0, str(Path(__file__).parents[1]))


@dataclass(frozen=True)
class Timing:
    """Seconds of each repeat."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Largest minus smallest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median


def arguments(description: str, **folders: str) -> argparse.Namespace:
    """Command line of a benchmark: `--quick` for a run of under 50 seconds, and by name an option for each folder that
    it needs, with its help text."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="less data and fewer repeats, under 50 seconds")
    for name, text in folders.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    return parser.parse_args()


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Timing]:
    """Run every contender once untimed, then all of them in turn `repeats` times, so that a busy machine is busy for
    all of them. CPU time of this process by default; give `time.perf_counter` if other processes do the work."""
    for work in contenders.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            started = clock()
            work()
            seconds[name].append(clock() - started)
    return {name: Timing(values) for name, values in seconds.items()}


def times_as_fast(ours: Timing, theirs: Timing) -> float:
    """Median over the repeats of an `interleave`, each of theirs against ours of the same turn: the machine's own speed
    changes more from turn to turn than contenders differ."""
    return statistics.median(their / our for our, their in zip(ours.seconds, theirs.seconds, strict=True))


def one_core() -> None:
    """Keep this process on one core, if the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def has_amx() -> bool:
    """Whether the processor has a matrix unit of Intel's, by far its fastest way to multiply in bfloat16."""
    information = Path("/proc/cpuinfo")
    return information.exists() and "amx_tile" in information.read_text(encoding="utf-8")


def machine(*packages: str) -> str:
    """The processor, its cores, Python and the versions of `packages`, on one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def report(benchmark: str, ours: float, peers: Mapping[str, float], unit: str, ratio: float, goal: str) -> None:
    """Print the result as the last line: `goal` is about `ratio`."""
    sys.stdout.flush()
    result = {
        "benchmark": benchmark,
        "ours": _round(ours),
        "peers": {name: _round(value) for name, value in peers.items()},
        "unit": unit,
        "ratio": _round(ratio),
        "goal": goal,
    }
    print(json.dumps(result, ensure_ascii=False))


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
