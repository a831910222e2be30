"""The work of deduplication in pieces, who runs them, and the shards that they read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

Counts = Mapping[str, Any]
"""Plain counts that a task returns beside its files."""


class Task(Protocol):
    """One piece of work: a frozen dataclass of plain data, so that it can travel to a worker."""

    def run(self, folder: Path) -> Counts:
        """Write files under `folder`, named by the task's own number."""


class Passes(Protocol):
    """Runs the tasks of each pass, here or on a cluster."""

    def folder(self, name: str) -> Path:
        """The folder with the files of pass `name`."""

    def run(self, name: str, tasks: Sequence[Task], unit: str, out: Path | None = None) -> Sequence[Counts]:
        """Run `tasks` and return their counts in order; files go under `out`, or under the folder of the pass.

        `unit` names the tasks in progress reports.
        """

    def discard(self, folder: Path) -> None:
        """Take a folder out of the result, though some of its files may still be open."""


class NewShard(NamedTuple):
    """A shard to deduplicate: Parquet files with `doc_id` (32 hex digits), `text`, `origin`; and with `keep`,
    `quality` for the same rows."""

    documents: Path
    filtered: Path


class EarlierShard(NamedTuple):
    """A shard of an earlier result: its documents, the index that was written for them, and those of their first
    prompts and of their embeddings if these were compared."""

    documents: Path
    index_stem: Path
    prompts: Path | None = None
    semantic: Path | None = None


@dataclass(frozen=True)
class PrefixedPasses:
    """Passes over another part of the documents, in folders whose names begin with `prefix`."""

    passes: Passes
    prefix: str

    def folder(self, name: str) -> Path:
        return self.passes.folder(f"{self.prefix}-{name}")

    def run(self, name: str, tasks: Sequence[Task], unit: str, out: Path | None = None) -> Sequence[Counts]:
        return self.passes.run(f"{self.prefix}-{name}", tasks, f"{unit} ({self.prefix})", out)

    def discard(self, folder: Path) -> None:
        self.passes.discard(folder)


class Decided(NamedTuple):
    """The result of one comparison: the folder with `decisions`, `index`, `largest` of all shards, and the counts of
    each shard."""

    folder: Path
    counts: Sequence[Counts]


class Destination(NamedTuple):
    """Where the last pass of a comparison writes: the folder of decisions by name, and the result, None for the folder
    of the pass."""

    kind: str = "decisions"
    out: Path | None = None


def add_up(results: Sequence[Counts]) -> tuple[Counter[str], dict[str, list[int]]]:
    """The counts of all shards; documents compared and removed by origin."""
    counts: Counter[str] = Counter()
    losses: dict[str, list[int]] = {}
    for result in results:
        of_shard = dict(result)
        for origin, (compared, removed) in of_shard.pop("origins").items():
            before = losses.get(origin, (0, 0))
            losses[origin] = [before[0] + compared, before[1] + removed]
        counts.update(of_shard)
    return counts, losses
