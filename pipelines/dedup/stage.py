"""The stage `dedup`: which document stands for which, as a sidecar of the documents.

    sign      each shard      index records, band words, runs of bucket keys in order
    join      each key range  runs -> buckets of several documents
    (here)                    buckets -> components -> groups of components
    regroup   both            shingle sets of the texts, bucket rows, by group
    resolve   each group      kept or removed, with evidence
    decide    each shard      decisions, index of the kept

Only descriptors and counts pass through this process; all else lies in files of the stage's state.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from arctic_errors import UserError
from data_recipes import RecipeError
from data_recipes.schema import DedupSection
from infra.context import StageContext
from infra.fanout import ShardResult, map_shards
from infra.stage import Metrics, Stage
from infra.store import Artifact
from pipelines.artifacts.documents import shard_paths
from pipelines.artifacts.duplicates import write_alarms, write_clusters
from pipelines.artifacts.formats.parquet import read_table
from pipelines.dedup.buckets import JoinRange, num_ranges
from pipelines.dedup.components import group_components
from pipelines.dedup.deciding import DecideShard, largest_clusters
from pipelines.dedup.guards import find_alarms
from pipelines.dedup.index import Unit
from pipelines.dedup.regroup import GatherUnit, RouteRange
from pipelines.dedup.resolving import ResolveGroup
from pipelines.dedup.signing import SignShard, SortIndex

COMPARABLE = ("ngram", "num_bands", "rows_per_band", "seed")
"""Fields in which corpora must agree to be compared by what is stored of them."""


class DedupError(UserError, RuntimeError):
    """A guard stopped the stage: the message lists the alarms."""


class Task(Protocol):
    """One piece of work: a frozen dataclass of plain data, so that it can travel to a worker."""

    def run(self, folder: Path) -> ShardResult:
        """Write files under `folder`, named by the task's own number."""


def stage(
    name: str,
    section: DedupSection,
    source: Stage,
    filtered: Stage,
    against: Mapping[str, tuple[Stage, Stage]] | None = None,
) -> Stage:
    """Decisions on the documents of corpus `name` that passed the filter.

    `against`: stages `source` and `dedup` of every corpus in `section.against`, whose kept documents rank before all
    of this corpus. Raises RecipeError where one was made with other shingles or signatures.
    """
    inputs = {"source": source, "filter": filtered}
    for earlier in section.against:
        inputs[f"{earlier}.source"], inputs[f"{earlier}.dedup"] = (against or {})[earlier]
        _require_comparable(name, section, earlier, inputs[f"{earlier}.dedup"])
    return Stage("dedup", name, 3, section.as_params(), inputs, partial(_dedup, name, section))


def _require_comparable(name: str, section: DedupSection, earlier: str, deduped: Stage) -> None:
    for field in COMPARABLE:
        ours, theirs = getattr(section, field), deduped.params[field]
        if ours != theirs:
            raise RecipeError(
                f"corpus {name}: dedup.{field} = {ours}, but {earlier}, which dedup.against names, has {theirs}. "
                f"Use {theirs} here, or {ours} there."
            )


@dataclass(frozen=True)
class Phases:
    """The stage's phases as folders of its state, each of them resumed on its own."""

    context: StageContext

    def folder(self, phase: str) -> Path:
        """Where the files of a phase lie."""
        return self.context.state / phase / "out"

    def run(self, phase: str, tasks: Sequence[Task], unit: str, out: Path | None = None) -> list[ShardResult]:
        """Do what is left of `tasks`; their files lie under `out`, or under the phase's folder."""
        if out is None:
            out = self.folder(phase)
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
        context = replace(self.context, state=self.context.state / phase, out=out)
        return map_shards(context, run_task, tasks, unit=unit)


def run_task(task: Task, folder: Path) -> ShardResult:
    return task.run(folder)


def _dedup(name: str, section: DedupSection, context: StageContext, inputs: Mapping[str, Artifact]) -> Metrics:
    phases = Phases(context)
    units = _sign(section, phases, inputs)
    ranges = _join(units, phases)
    groups, num_groups = group_components(ranges, units, phases.folder("group"))
    gather = [GatherUnit(unit, section.ngram, groups) for unit in units]
    route = [RouteRange(number, stem, groups) for number, stem in enumerate(ranges)]
    phases.run("regroup", [*gather, *route], "parts regrouped")
    members = [phases.folder("regroup") / "members" / f"{unit.number:05d}" for unit in units]
    routed = [phases.folder("regroup") / "routed" / stem.name for stem in ranges]
    resolve = [ResolveGroup(number, section, members, routed) for number in range(num_groups)]
    resolved = phases.run("resolve", resolve, "groups compared")
    counts, losses = _decide(section, phases, units, num_groups)
    counts["pairs_compared"] = sum(result.metrics["compared"] for result in resolved)
    counts["pairs_rejected"] = sum(result.metrics["rejected"] for result in resolved)
    clusters = _merge_clusters(context.out)
    counts["largest_cluster"] = max(clusters.values(), default=1)
    _guard(name, section, context, losses, clusters)
    return {f"data/{count}": value for count, value in counts.items()}


def _sign(section: DedupSection, phases: Phases, inputs: Mapping[str, Artifact]) -> list[Unit]:
    """Units of the earlier corpora, whose runs are sorted again, and of this one, whose documents are signed."""
    tasks: list[Task] = []
    units: list[Unit] = []
    for corpus, earlier in enumerate(section.against):
        for documents in shard_paths(inputs[f"{earlier}.source"].path, "documents"):
            index = inputs[f"{earlier}.dedup"].path / "index" / documents.stem
            units.append(Unit(len(units), corpus, 0, True, documents, index))
            tasks.append(SortIndex(len(tasks), index))
    filtered = shard_paths(inputs["filter"].path, "filtered")
    for documents, decided in zip(shard_paths(inputs["source"].path, "documents"), filtered, strict=True):
        index = phases.folder("sign") / "index" / f"{len(units):05d}"
        units.append(Unit(len(units), len(section.against), 0, False, documents, index))
        tasks.append(SignShard(len(tasks), section, documents, decided))
    phases.run("sign", tasks, "shards signed")
    first = 0
    for number, unit in enumerate(units):
        units[number] = replace(unit, first=first)
        first += len(unit.records())
    return units


def _join(units: Sequence[Unit], phases: Phases) -> list[Path]:
    num_bands = units[0].words().shape[1]
    last = units[-1]
    count = num_ranges((last.first + len(last.records())) * num_bands)
    first_new = next(unit.first for unit in units if not unit.fixed)
    runs = phases.folder("sign") / "runs"
    phases.run("join", [JoinRange(number, count, first_new, runs, units) for number in range(count)], "key ranges")
    return [phases.folder("join") / "buckets" / f"{number:05d}" for number in range(count)]


def _decide(
    section: DedupSection, phases: Phases, units: Sequence[Unit], num_groups: int
) -> tuple[Counter[str], dict[str, list[int]]]:
    """Write decisions and index; returns counts, and documents compared and removed by origin."""
    verdicts = [phases.folder("resolve") / "verdicts" / f"{number:05d}.npy" for number in range(num_groups)]
    copies = phases.folder("sign") / "copies"
    new = [unit for unit in units if not unit.fixed]
    tasks = [
        DecideShard(number, section.num_bands, unit, copies / f"{unit.number:05d}.npy", verdicts)
        for number, unit in enumerate(new)
    ]
    counts: Counter[str] = Counter()
    losses: dict[str, list[int]] = {}
    for result in phases.run("decide", tasks, "shards decided", phases.context.out):
        metrics = dict(result.metrics)
        for origin, (compared, removed) in metrics.pop("origins").items():
            before = losses.get(origin, (0, 0))
            losses[origin] = [before[0] + compared, before[1] + removed]
        counts.update(metrics)
    return counts, losses


def _merge_clusters(out: Path) -> dict[str, int]:
    """Merge what the shards list to the largest clusters of the corpus; returns their sizes, largest first."""
    table = largest_clusters([])
    for part in shard_paths(out, "largest"):
        table = largest_clusters([table, read_table(part)])
    shutil.rmtree(out / "largest")
    write_clusters(table, out)
    return dict(zip(table["kept_id"].to_pylist(), table["size"].to_pylist(), strict=True))


def _guard(
    name: str,
    section: DedupSection,
    context: StageContext,
    losses: Mapping[str, Sequence[int]],
    clusters: Mapping[str, int],
) -> None:
    alarms = find_alarms(name, section, losses, clusters)
    write_alarms(alarms, context.out)
    if alarms and section.on_alarm == "stop":
        listed = "; ".join(alarm.message for alarm in alarms)
        raise DedupError(f'{listed}. Look at these documents; then raise the limit, or set dedup.on_alarm = "warn".')
    for alarm in alarms:
        context.warn(alarm.message)
