"""The passes over embeddings of the documents that other comparisons keep.

semantic-embed      each shard     embeddings of the kept documents
semantic-fit        one task       centers of clusters, from a sample
semantic-assign     each shard     the nearest clusters of each document
semantic-compare    some clusters  pairs of near documents, and edges
semantic-round-N    ...            components and groups of them, as of near duplicates
semantic-route      some clusters  pairs by group
semantic-resolve    each group     keep or remove, with evidence
semantic-merge      each shard     decisions on both, and the indexes of what is kept
"""

from collections.abc import Sequence
from pathlib import Path

from pipelines.dedup.index import Unit, in_a_row
from pipelines.dedup.options import SemanticOptions
from pipelines.dedup.passes.groups import group_components
from pipelines.dedup.passes.heirs import find_heirs
from pipelines.dedup.passes.merging import SEMANTIC, DecidedShard, MergeShard
from pipelines.dedup.semantic.deciding import SEMANTIC_DUPLICATE, DecideSemantic, ResolveSemantic, RoutePairs
from pipelines.dedup.semantic.passes import CLUSTERS_PER_TASK, AssignUnit, CompareClusters, EmbedShard, FitClusters
from pipelines.dedup.tasks import Decided, Destination, EarlierShard, NewShard, Passes, PrefixedPasses


def compare_embeddings(
    options: SemanticOptions,
    shards: Sequence[NewShard],
    earlier: Sequence[Sequence[EarlierShard]],
    passes: Passes,
    before: Path,
    to: Destination,
) -> Decided:
    """Compare the documents of `shards` that are kept under `before` by their embeddings."""
    own = PrefixedPasses(passes, SEMANTIC)
    units = _embed(options, shards, earlier, own, before)
    num_tasks = _compare(options, units, own)
    compared = own.folder("compare")
    groups, num_groups = group_components(units, compared, num_tasks, own)
    own.run("route", [RoutePairs(number, compared, groups) for number in range(num_tasks)], "parts routed")
    resolve = [ResolveSemantic(number, num_tasks, own.folder("route"), units) for number in range(num_groups)]
    own.run("resolve", resolve, "groups compared")
    verdicts = [own.folder("resolve") / "verdicts" / f"{number:05d}.npy" for number in range(num_groups)]
    indexes = {"index": before / "index", SEMANTIC: own.folder("embed") / "index"}
    if (before / "prompts").is_dir():
        indexes["prompts"] = before / "prompts"
    new = [unit for unit in units if not unit.fixed]
    own.run("decide", [DecideSemantic(number, unit, verdicts) for number, unit in enumerate(new)], "shards decided")
    later, heirs = own.folder("decide"), find_heirs(own)
    merge = [
        MergeShard(SEMANTIC_DUPLICATE, DecidedShard(number, unit.documents, before, to.kind, indexes), later, heirs)
        for number, unit in enumerate(new)
    ]
    return Decided(own.folder("merge"), own.run("merge", merge, "shards merged", to.out))


def _embed(
    options: SemanticOptions,
    shards: Sequence[NewShard],
    earlier: Sequence[Sequence[EarlierShard]],
    passes: Passes,
    before: Path,
) -> list[Unit]:
    """Units of the earlier corpora that have embeddings, and of this one, whose documents are embedded."""
    tasks = [
        EmbedShard(number, options, shard.documents, before / "index" / f"{number:05d}")
        for number, shard in enumerate(shards)
    ]
    passes.run("embed", tasks, "shards embedded")
    indexes = passes.folder("embed") / "index"
    stored = [
        (corpus, True, shard.documents, shard.semantic)
        for corpus, indexed in enumerate(earlier)
        for shard in indexed
        if shard.semantic
    ]
    made = [(len(earlier), False, shard.documents, indexes / f"{n:05d}") for n, shard in enumerate(shards)]
    return in_a_row(
        [
            Unit(number, corpus, 0, fixed, documents, index)
            for number, (corpus, fixed, documents, index) in enumerate([*stored, *made])
        ]
    )


def _compare(options: SemanticOptions, units: Sequence[Unit], passes: Passes) -> int:
    """Find the pairs; returns the number of tasks that wrote them."""
    (fitted,) = passes.run("fit", [FitClusters(units)], "tasks")
    centers = passes.folder("fit") / "centers.npy"
    passes.run("assign", [AssignUnit(unit, centers) for unit in units], "shards assigned to clusters")
    bounds = range(0, fitted["clusters"], CLUSTERS_PER_TASK)
    compare = [
        CompareClusters(
            number,
            first,
            min(first + CLUSTERS_PER_TASK, fitted["clusters"]),
            options.cosine_threshold,
            passes.folder("assign"),
            units,
        )
        for number, first in enumerate(bounds)
    ]
    passes.run("compare", compare, "parts of clusters compared")
    return len(compare)
