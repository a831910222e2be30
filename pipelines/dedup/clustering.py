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
    (semantic) if asked for    duplicates among the embeddings of the kept documents
    (passages) if asked for    spans of the kept documents that an earlier one has too

Only descriptors and counts go through the calling process; everything else is in files.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipelines.artifacts.documents import shard_paths
from pipelines.artifacts.duplicates import write_clusters
from pipelines.artifacts.formats.parquet import read_table
from pipelines.dedup.index import Unit, in_a_row
from pipelines.dedup.options import DedupOptions, SemanticOptions
from pipelines.dedup.parts import Part
from pipelines.dedup.passages.passes import KINDS, CutShard, MarkShard, MatchRange
from pipelines.dedup.passes.buckets import JoinRange, num_ranges
from pipelines.dedup.passes.deciding import DecideShard, largest_clusters
from pipelines.dedup.passes.groups import group_components
from pipelines.dedup.passes.heirs import find_heirs
from pipelines.dedup.passes.merging import DecidedShard, MergeShard
from pipelines.dedup.passes.prompts import FIRST_PROMPT, SelectPrompts
from pipelines.dedup.passes.regroup import GatherUnit, RouteRange
from pipelines.dedup.passes.resolving import ResolveGroup
from pipelines.dedup.passes.signing import SignShard, SortIndex
from pipelines.dedup.semantic.comparing import compare_embeddings
from pipelines.dedup.tasks import (
    Decided,
    Destination,
    EarlierShard,
    NewShard,
    Passes,
    PrefixedPasses,
    Task,
    add_up,
)

UNCUT = "uncut"
"""Folder of decisions whose passages are not yet marked."""


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
    semantic: SemanticOptions | None = None,
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
        semantic: Deduplicate what is kept on its embeddings as well, and write `semantic/` under `out`.
    """
    further: list[Callable[[Path, Destination], Decided]] = []
    if first_prompts:
        further.append(partial(_compare_prompts, options, shards, earlier, passes))
    if semantic:
        further.append(partial(compare_embeddings, semantic, shards, earlier, passes))
    result = Destination(UNCUT if options.cuts_passages else "decisions", out)
    destinations = [*(Destination() for _ in further), result]
    decided = _compare(options, _sign(options, shards, earlier, passes), passes, destinations[0])
    counts, losses = add_up(decided.counts)
    for compare, destination in zip(further, destinations[1:], strict=True):
        decided = compare(decided.folder, destination)
        added, losses = add_up(decided.counts)
        counts.update(added)
    if options.cuts_passages:
        counts.update(_cut_passages(options, passes, [shard.documents for shard in shards], out))
    clusters = _merge_clusters(passes, out)
    counts["largest_cluster"] = max(clusters.values(), default=1)
    return Clustering(counts, losses, clusters)


def _compare(options: DedupOptions, units: Sequence[Unit], passes: Passes, to: Destination) -> Decided:
    """Compare the texts of `units`, or what `Unit.part` names of them."""
    ranges = _join(units, passes)
    groups, num_groups = group_components(units, passes.folder("join"), len(ranges), passes)
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
        DecideShard(number, options.num_bands, unit, copies / f"{unit.number:05d}.npy", verdicts, to.kind)
        for number, unit in enumerate(unit for unit in units if not unit.fixed)
    ]
    decided = passes.run("decide", decide, "shards decided", to.out)
    pairs = {f"pairs_{name}": sum(each[name] for each in resolved) for name in ("compared", "rejected")}
    return Decided(passes.folder("decide"), [*decided, {**pairs, "origins": {}}])


def _compare_prompts(
    options: DedupOptions,
    shards: Sequence[NewShard],
    earlier: Sequence[Sequence[EarlierShard]],
    passes: Passes,
    before: Path,
    to: Destination,
) -> Decided:
    """Compare the first prompts of the conversations that are kept under `before`."""
    own = PrefixedPasses(passes, "prompt")
    decisions = shard_paths(before, "decisions")
    own.run(
        "select", [SelectPrompts(number, *shard, decisions[number]) for number, shard in enumerate(shards)], "shards"
    )
    selected = shard_paths(own.folder("select"), "selected")
    new = [NewShard(shard.documents, file) for shard, file in zip(shards, selected, strict=True)]
    known = [[EarlierShard(each.documents, each.prompts) for each in corpus if each.prompts] for corpus in earlier]
    prompts = _compare(options, _sign(options, new, known, own, "first_prompt"), own, Destination()).folder
    indexes = {"index": before / "index", "prompts": prompts / "index"}
    heirs = find_heirs(own)
    merge = [
        MergeShard(FIRST_PROMPT, DecidedShard(number, shard.documents, before, to.kind, indexes), prompts, heirs)
        for number, shard in enumerate(shards)
    ]
    return Decided(own.folder("merge"), own.run("merge", merge, "shards decided", to.out))


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
        for documents, index, *_ in indexed:
            units.append(Unit(len(units), corpus, 0, True, documents, index, part))
            tasks.append(SortIndex(len(tasks), index))
    for documents, filtered in shards:
        index = passes.folder("sign") / "index" / f"{len(units):05d}"
        units.append(Unit(len(units), len(earlier), 0, False, documents, index, part))
        tasks.append(SignShard(len(tasks), options, documents, filtered, part))
    passes.run("sign", tasks, "shards signed")
    return in_a_row(units)


def _join(units: Sequence[Unit], passes: Passes) -> list[Path]:
    num_bands = units[0].words().shape[1]
    last = units[-1]
    count = num_ranges((last.first + len(last.records())) * num_bands)
    first_new = next(unit.first for unit in units if not unit.fixed)
    runs = passes.folder("sign") / "runs"
    passes.run("join", [JoinRange(number, count, first_new, runs, units) for number in range(count)], "key ranges")
    return [passes.folder("join") / "buckets" / f"{number:05d}" for number in range(count)]


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
