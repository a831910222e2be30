"""The largest clusters of duplicates of a run, with samples of the documents removed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.artifact import Artifact
from pipelines.artifacts.documents import redact
from pipelines.artifacts.duplicates import (
    Alarm,
    count_cluster_sizes,
    describe_evidence,
    find_members,
    read_alarms,
    read_clusters,
    read_document,
)

CLUSTERS_SHOWN = 100
SAMPLES_PER_CLUSTER = 2
"""Removed documents of a cluster that are shown."""
SAMPLE_CHARACTERS = 160
SIZES = (1, 2, 3, 5, 100, 1000)
"""First cluster size of each range that is counted, as in the default of `mix.copies_by_cluster_size`."""


@dataclass(frozen=True)
class Sample:
    """The beginning of a removed document and the evidence that it repeats the kept one."""

    url: str
    beginning: str
    evidence: str


@dataclass
class Cluster:
    """A cluster by its representative; `beginning` of that document."""

    corpus: str
    kept_id: str
    size: int
    beginning: str = ""
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Duplicates:
    """Alarms by corpus, and the largest clusters of all corpora. `sizes`: by corpus, for each range of SIZES, the kept
    documents of such clusters and the documents that they stand for."""

    alarms: Mapping[str, Sequence[Alarm]]
    clusters: Sequence[Cluster]
    sizes: Mapping[str, Sequence[tuple[int, int]]]


def read_duplicates(
    sources: Mapping[str, Artifact], filtered: Mapping[str, Artifact], deduped: Mapping[str, Artifact]
) -> Duplicates:
    """From the artifacts of `source`, `filter` and `dedup` by corpus; samples are redacted as for training."""
    clusters = [
        Cluster(corpus, kept_id, size)
        for corpus, artifact in deduped.items()
        for kept_id, size in read_clusters(artifact.path)[:CLUSTERS_SHOWN]
    ]
    clusters = sorted(clusters, key=lambda each: (-each.size, each.corpus, each.kept_id))[:CLUSTERS_SHOWN]
    for corpus, artifact in deduped.items():
        _add_samples([each for each in clusters if each.corpus == corpus], sources[corpus], filtered[corpus], artifact)
    alarms = {corpus: read_alarms(artifact.path) for corpus, artifact in deduped.items()}
    sizes = {corpus: count_cluster_sizes(artifact.path, SIZES) for corpus, artifact in deduped.items()}
    return Duplicates(alarms, clusters, sizes)


def _add_samples(clusters: Sequence[Cluster], source: Artifact, filtered: Artifact, deduped: Artifact) -> None:
    by_id = {cluster.kept_id: cluster for cluster in clusters}
    for member in find_members(deduped.path, by_id):
        is_kept = member.decision["doc_id"] in by_id
        cluster = by_id[member.decision["doc_id" if is_kept else "kept_id"]]
        if not is_kept and len(cluster.samples) == SAMPLES_PER_CLUSTER:
            continue
        shard = source.path / "documents" / member.shard.name
        document = read_document(shard, member.row, ["url", "text"])
        spans = read_document(filtered.path / "filtered" / member.shard.name, member.row, ["redactions"])
        redacted = redact(document["text"], spans["redactions"])
        shown = " ".join(redacted[: 2 * SAMPLE_CHARACTERS].split())[:SAMPLE_CHARACTERS]
        if is_kept:
            cluster.beginning = shown
        else:
            cluster.samples.append(Sample(document["url"], shown, describe_evidence(member.decision)))
