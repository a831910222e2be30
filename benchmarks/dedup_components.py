"""Components of 10^8 synthetic edges on two cores, in rounds over partitions, against scipy in one process.

    python benchmarks/dedup_components.py [--quick]

Of 2.5 edges per document, most join documents nearby, as copies of one site; one in a thousand joins any two, which
makes a component of a large part of them. Edges lie in files of 8.4 million as the key ranges leave them. Every
contender reads these files. Time is CPU time of a contender's processes, their start included; peak memory is that of
the largest process.
"""

import itertools
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, machine, report

from arctic_model.peak_memory import peak_resident_bytes
from pipelines.dedup.passes.buckets import ROWS_PER_RANGE
from pipelines.dedup.passes.components import DOCUMENTS_PER_PARTITION, Forest, Partitions, connect, contract, save_pairs

EDGES_PER_DOCUMENT = 2.5
NEARBY = 50
REMOTE_SHARE = 0.001
WORKERS = 2
GOAL = "10^8 edges, each task within 2 GB"


@dataclass(frozen=True)
class Graph:
    """Edges in files under `folder`, drawn from their number."""

    folder: Path
    num_documents: int
    num_edges: int

    def __len__(self) -> int:
        return -(-self.num_edges // ROWS_PER_RANGE)

    def write(self) -> None:
        for number in range(len(self)):
            draw = np.random.default_rng(number)
            size = min(ROWS_PER_RANGE, self.num_edges - number * ROWS_PER_RANGE)
            one = draw.integers(0, self.num_documents, size)
            other = np.maximum(0, one - draw.integers(0, NEARBY, size))
            remote = draw.random(size) < REMOTE_SHARE
            other[remote] = draw.integers(0, self.num_documents, remote.sum())
            np.save(self.folder / f"{number}.npy", np.stack([one, other]))

    def read(self, number: int) -> np.ndarray:
        edges: np.ndarray = np.load(self.folder / f"{number}.npy", mmap_mode="r", allow_pickle=False)
        return edges


@dataclass(frozen=True)
class ContractRange:
    """A task of the join on the edges of its range."""

    number: int
    graph: Graph

    def run(self, folder: Path) -> Mapping[str, int]:
        save_pairs(folder, "edges", self.number, np.stack(contract(*self.graph.read(self.number))))
        return {}


def run_task(task: Any, folder: Path) -> tuple[Mapping[str, int], float]:
    """Counts, and the peak memory of the worker so far, bytes."""
    counts = task.run(folder)
    return counts, peak_resident_bytes()


def ours(graph: Graph, home: Path) -> tuple[np.ndarray, int, float]:
    """Smallest document connected with each, number of rounds, bytes at the peak of a worker."""
    bounds = (*range(0, graph.num_documents, DOCUMENTS_PER_PARTITION), graph.num_documents)
    peaks: list[float] = []
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as executor:

        def run_all(tasks: Sequence[Any], folder: Path) -> list[Mapping[str, int]]:
            folder.mkdir()
            counts, memory = zip(*executor.map(run_task, tasks, itertools.repeat(folder)), strict=True)
            peaks.extend(memory)
            return list(counts)

        run_all([ContractRange(number, graph) for number in range(len(graph))], home / "join")
        rounds = itertools.count()

        def run_round(number: int, tasks: Sequence[Any]) -> tuple[Path, list[Mapping[str, int]]]:
            next(rounds)
            folder = home / f"round-{number}"
            return folder, run_all(tasks, folder)

        forest = connect(Partitions(bounds), home / "join", len(graph), run_round)
    return _smallest(forest, graph.num_documents), next(rounds), max(peaks)


def _smallest(forest: Forest, num_documents: int) -> np.ndarray:
    smallest = np.arange(num_documents)
    for number in range(len(forest.partitions)):
        documents, parents = forest.part(number)
        smallest[documents] = parents
    return smallest


def scipy_components(graph: Graph) -> tuple[np.ndarray, float]:
    """Smallest document connected with each, by one process that holds all edges; bytes at its peak."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([graph.read(number) for number in range(len(graph))], axis=1).astype(np.int32)
    size = graph.num_documents
    matrix = coo_array((np.ones(ends.shape[1], np.int8), (ends[0], ends[1])), shape=(size, size)).tocsr()
    _, labels = connected_components(matrix, directed=False)
    _, first = np.unique(labels, return_index=True)
    return first[labels], peak_resident_bytes()


def in_process(work: Any, *args: Any) -> Any:
    """The outcome of `work` in a separate process, which has ended."""
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        return executor.submit(work, *args).result()


def children_seconds() -> float:
    """CPU time of the processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    num_edges = 2_000_000 if arguments(__doc__.splitlines()[0]).quick else 100_000_000
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        graph = Graph(home, int(num_edges / EDGES_PER_DOCUMENT), num_edges)
        graph.write()
        before, started = children_seconds(), time.perf_counter()
        smallest, rounds, peak = ours(graph, home)
        seconds, waited = children_seconds() - before, time.perf_counter() - started
        before = children_seconds()
        expected, peer_peak = in_process(scipy_components, graph)
        peer_seconds = children_seconds() - before
    if not np.array_equal(smallest, expected):
        raise SystemExit("components differ from scipy's")
    print(machine("numba", "numpy", "scipy"))
    sizes = np.bincount(smallest)
    print(f"{num_edges:,} edges, {graph.num_documents:,} documents, largest component {sizes.max():,}, {rounds} rounds")
    print(f"ours took {waited:.0f} s of wall time")
    print("| contender | CPU s | GB at peak of a process |\n|---|---|---|")
    print(f"| ours, {WORKERS} processes | {seconds:.0f} | {peak / 1e9:.2f} |")
    print(f"| scipy, all edges in one process | {peer_seconds:.0f} | {peer_peak / 1e9:.2f} |")
    rate, peer_rate = num_edges / seconds / 1e6, num_edges / peer_seconds / 1e6
    report("dedup_components", rate, {"scipy": peer_rate}, "million edges per CPU second", rate / peer_rate, GOAL)


if __name__ == "__main__":
    main()
