"""Deduplication of sharded documents, pass by pass; who runs the tasks of a pass is the caller's business.

    sign      each shard      index records, band words, sorted runs of bucket keys
    join      each key range  runs -> buckets of several documents, and the edges that span them
    round-N   each partition  edges -> components, in rounds until nothing changes
    weigh     each partition  bytes of its documents by component
    pack      each partition  groups of components
    regroup   both            shingle sets of the texts and bucket rows, by group
    resolve   each group      keep or remove, with evidence
    decide    each shard      decisions, and the index of the kept documents
    (prompts)  if asked for    all of these over the first prompts of the kept conversations
    (passages) if asked for    spans of the kept documents that an earlier one has too

Only descriptors and counts go through the calling process; everything else is in files.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipelines.artifacts.documents import shard_paths
from pipelines.artifacts.duplicates import write_clusters
from pipelines.artifacts.formats.parquet import read_table
from pipelines.dedup.index import Unit
from pipelines.dedup.options import DedupOptions
from pipelines.dedup.parts import Part
from pipelines.dedup.passages.passes import KINDS, CutShard, MarkShard, MatchRange
from pipelines.dedup.passes.buckets import JoinRange, num_ranges
from pipelines.dedup.passes.components import ContractPartition, connect, partition
from pipelines.dedup.passes.deciding import DecideShard, largest_clusters
from pipelines.dedup.passes.groups import Groups, PackPartition, WeighPartition
from pipelines.dedup.passes.heirs import Heirs, JoinHeirs, SortHeirs
from pipelines.dedup.passes.prompts import MergePrompts, SelectPrompts
from pipelines.dedup.passes.regroup import GatherUnit, RouteRange
from pipelines.dedup.passes.resolving import ResolveGroup
from pipelines.dedup.passes.signing import SignShard, SortIndex

UNCUT = "uncut"
"""Folder of decisions whose passages are not yet marked."""
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
    """A shard of an earlier result: its documents, the index that was written for them, and the one of their first
    prompts if these were compared."""

    documents: Path
    index_stem: Path
    prompts: Path | None = None


@dataclass(frozen=True)
class Clustering:
    """The outcome: counts by name; documents compared and removed, by origin; sizes of the largest clusters by the
    id of the kept document, largest first."""

    counts: Mapping[str, int]
    losses: Mapping[str, Sequence[int]]
    clusters: Mapping[str, int]


def cluster_shards(
    options: DedupOptions,
    shards: Sequence[NewShard],
    earlier: Sequence[Sequence[EarlierShard]],
    passes: Passes,
    out: Path,
    *,
    first_prompts: bool = False,
) -> Clustering:
    """Deduplicate `shards` and write `decisions/`, `index/` and the largest clusters under `out`.

    Args:
        options: The rules.
        shards: Shards of the corpus.
        earlier: Shards of the corpora whose kept documents rank before all new ones, best corpus first.
        passes: Runs the tasks.
        out: Folder of the result.
        first_prompts: Deduplicate the kept conversations on their first prompts as well, and write their index,
            `prompts/`, under `out`.
    """
    kind = UNCUT if options.cuts_passages else "decisions"
    if first_prompts:
        counts, losses = _compare_twice(options, shards, earlier, passes, kind, out)
    else:
        counts, losses = _compare(options, _sign(options, shards, earlier, passes), passes, kind, out)
    if options.cuts_passages:
        counts.update(_cut_passages(options, passes, [shard.documents for shard in shards], out))
    clusters = _merge_clusters(passes, out)
    counts["largest_cluster"] = max(clusters.values(), default=1)
    return Clustering(counts, losses, clusters)


def _compare(
    options: DedupOptions, units: Sequence[Unit], passes: Passes, kind: str, out: Path | None
) -> tuple[Counter[str], dict[str, list[int]]]:
    """Compare the documents of `units` and write what the pass `decide` writes, under `out` or in its own folder;
    returns counts, and documents compared and removed by origin."""
    ranges = _join(units, passes)
    groups, num_groups = _group(units, len(ranges), passes)
    gather = [GatherUnit(unit, options.ngram, groups) for unit in units]
    route = [RouteRange(number, stem, groups) for number, stem in enumerate(ranges)]
    passes.run("regroup", [*gather, *route], "parts regrouped")
    members = [passes.folder("regroup") / "members" / f"{unit.number:05d}" for unit in units]
    routed = [passes.folder("regroup") / "routed" / stem.name for stem in ranges]
    resolve = [ResolveGroup(number, options, members, routed) for number in range(num_groups)]
    resolved = passes.run("resolve", resolve, "groups compared")
    verdicts = [passes.folder("resolve") / "verdicts" / f"{number:05d}.npy" for number in range(num_groups)]
    copies = passes.folder("sign") / "copies"
    decide = [
        DecideShard(number, options.num_bands, unit, copies / f"{unit.number:05d}.npy", verdicts, kind)
        for number, unit in enumerate(unit for unit in units if not unit.fixed)
    ]
    counts, losses = _add_up(passes.run("decide", decide, "shards decided", out))
    counts["pairs_compared"] = sum(each["compared"] for each in resolved)
    counts["pairs_rejected"] = sum(each["rejected"] for each in resolved)
    return counts, losses


@dataclass(frozen=True)
class PromptPasses:
    """The passes over first prompts, beside those over whole texts."""

    passes: Passes

    def folder(self, name: str) -> Path:
        return self.passes.folder(f"prompt-{name}")

    def run(self, name: str, tasks: Sequence[Task], unit: str, out: Path | None = None) -> Sequence[Counts]:
        return self.passes.run(f"prompt-{name}", tasks, f"{unit}, first prompts", out)

    def discard(self, folder: Path) -> None:
        self.passes.discard(folder)


def _compare_twice(
    options: DedupOptions,
    shards: Sequence[NewShard],
    earlier: Sequence[Sequence[EarlierShard]],
    passes: Passes,
    kind: str,
    out: Path,
) -> tuple[Counter[str], dict[str, list[int]]]:
    """`_compare` whole texts, then the first prompts of the kept conversations; what is decided stands under `out`."""
    counts, _ = _compare(options, _sign(options, shards, earlier, passes), passes, "decisions", None)
    whole, own = passes.folder("decide"), PromptPasses(passes)
    decisions = shard_paths(whole, "decisions")
    own.run(
        "select", [SelectPrompts(number, *shard, decisions[number]) for number, shard in enumerate(shards)], "shards"
    )
    selected = shard_paths(own.folder("select"), "selected")
    new = [NewShard(shard.documents, file) for shard, file in zip(shards, selected, strict=True)]
    known = [[EarlierShard(each.documents, each.prompts) for each in corpus if each.prompts] for corpus in earlier]
    _compare(options, _sign(options, new, known, own, "first_prompt"), own, "decisions", None)
    prompts, heirs = own.folder("decide"), _find_heirs(own)
    merge = [MergePrompts(number, shard.documents, whole, prompts, heirs, kind) for number, shard in enumerate(shards)]
    removed, losses = _add_up(own.run("merge", merge, "shards decided", out))
    counts.update(removed)
    return counts, losses


def _find_heirs(passes: Passes) -> Heirs:
    """The heirs of documents whose first prompts are alike, once these are decided."""
    decisions = shard_paths(passes.folder("decide"), "decisions")
    sort = [SortHeirs(number, file) for number, file in enumerate(decisions)]
    count = num_ranges(sum(each["heirs"] for each in passes.run("sort", sort, "shards sorted")))
    runs = passes.folder("sort") / "runs"
    passes.run("heirs", [JoinHeirs(number, count, runs, len(sort)) for number in range(count)], "id ranges")
    return Heirs(passes.folder("heirs") / "ranges", count)


def _sign(
    options: DedupOptions,
    shards: Sequence[NewShard],
    earlier: Sequence[Sequence[EarlierShard]],
    passes: Passes,
    part: Part = "text",
) -> list[Unit]:
    """Units of the earlier corpora, whose runs are sorted again, and of this one, whose documents are signed."""
    tasks: list[Task] = []
    units: list[Unit] = []
    for corpus, indexed in enumerate(earlier):
        for documents, index, _ in indexed:
            units.append(Unit(len(units), corpus, 0, True, documents, index, part))
            tasks.append(SortIndex(len(tasks), index))
    for documents, filtered in shards:
        index = passes.folder("sign") / "index" / f"{len(units):05d}"
        units.append(Unit(len(units), len(earlier), 0, False, documents, index, part))
        tasks.append(SignShard(len(tasks), options, documents, filtered, part))
    passes.run("sign", tasks, "shards signed")
    first = 0
    for number, unit in enumerate(units):
        units[number] = replace(unit, first=first)
        first += len(unit.records())
    return units


def _join(units: Sequence[Unit], passes: Passes) -> list[Path]:
    num_bands = units[0].words().shape[1]
    last = units[-1]
    count = num_ranges((last.first + len(last.records())) * num_bands)
    first_new = next(unit.first for unit in units if not unit.fixed)
    runs = passes.folder("sign") / "runs"
    passes.run("join", [JoinRange(number, count, first_new, runs, units) for number in range(count)], "key ranges")
    return [passes.folder("join") / "buckets" / f"{number:05d}" for number in range(count)]


def _group(units: Sequence[Unit], num_key_ranges: int, passes: Passes) -> tuple[Groups, int]:
    """Groups of whole components, and how many there are."""

    def run_round(number: int, tasks: Sequence[ContractPartition]) -> tuple[Path, Sequence[Counts]]:
        name = f"round-{number}"
        return passes.folder(name), passes.run(name, tasks, f"partitions contracted (round {number + 1})")

    forest = connect(partition(units), passes.folder("join"), num_key_ranges, run_round)
    numbers = range(len(forest.partitions))
    passes.run("weigh", [WeighPartition(number, forest, units) for number in numbers], "partitions weighed")
    pack = [PackPartition(number, forest, passes.folder("weigh")) for number in numbers]
    counts = [each["groups"] for each in passes.run("pack", pack, "partitions packed")]
    first = tuple(accumulate(counts[:-1], initial=0))
    return Groups(forest, passes.folder("pack"), first), sum(counts)


def _add_up(results: Sequence[Counts]) -> tuple[Counter[str], dict[str, list[int]]]:
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


def _cut_passages(options: DedupOptions, passes: Passes, documents: Sequence[Path], out: Path) -> Counter[str]:
    """Write the decisions with the passages to leave out."""
    decisions = shard_paths(out, UNCUT)
    mark = [MarkShard(number, options, *files) for number, files in enumerate(zip(documents, decisions, strict=True))]
    marked = passes.run("mark", mark, "shards marked")
    count = num_ranges(max(sum(each[kind] for each in marked) for kind in KINDS))
    runs = passes.folder("mark")
    match = [MatchRange(number, count, options, runs, len(documents)) for number in range(count)]
    passes.run("match", match, "key ranges matched")
    matched = passes.folder("match")
    cut = [CutShard(number, options, documents, decisions, matched, count) for number in range(len(documents))]
    counts: Counter[str] = Counter()
    for result in passes.run("cut", cut, "shards cut", out):
        counts.update(result)
    passes.discard(out / UNCUT)
    return counts


def _merge_clusters(passes: Passes, out: Path) -> dict[str, int]:
    """Merge the shards' lists into the largest clusters of the corpus; returns their sizes, largest first."""
    table = largest_clusters([])
    for part in shard_paths(out, "largest"):
        table = largest_clusters([table, read_table(part)])
    passes.discard(out / "largest")
    write_clusters(table, out)
    return dict(zip(table["kept_id"].to_pylist(), table["size"].to_pylist(), strict=True))
