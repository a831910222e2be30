"""The part of the page on duplicates: alarms, and the largest clusters with samples of what was removed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from infra.artifact import Artifact
from infra.host.masking import masked
from pipelines.artifacts.documents import redact
from pipelines.artifacts.duplicates import Alarm, find_members, read_alarms, read_clusters, read_document
from pipelines.report.markup import Html, element, section, table, text

CLUSTERS_SHOWN = 100
SAMPLES_PER_CLUSTER = 2
"""Removed documents of a cluster that are shown."""
SAMPLE_CHARACTERS = 160


@dataclass(frozen=True)
class Sample:
    """The beginning of a removed document and what it has in common with the one kept."""

    url: str
    beginning: str
    jaccard: float


@dataclass
class Cluster:
    """A cluster by the document that stands for it."""

    corpus: str
    kept_id: str
    size: int
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Duplicates:
    """Alarms by corpus, and the largest clusters of all corpora."""

    alarms: Mapping[str, Sequence[Alarm]]
    clusters: Sequence[Cluster]


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
    return Duplicates({corpus: read_alarms(artifact.path) for corpus, artifact in deduped.items()}, clusters)


def duplicates_section(duplicates: Duplicates) -> Html:
    """The section as it stands in the page."""
    lead = (
        f"The {len(duplicates.clusters)} largest clusters of exact and near duplicates with some of the documents "
        "removed. One document of each is kept; `arctic show cluster <id>` shows all and what differs."
    )
    rows = [
        [
            text(cluster.corpus),
            element("code", text(cluster.kept_id)),
            Html("".join(_samples(cluster))),
            text(f"{cluster.size:,}"),
        ]
        for cluster in duplicates.clusters
    ]
    listed = table(["corpus", "kept document", "removed, for example", "documents"], rows, numbers=1)
    return section("duplicates", "Duplicates", lead, _alarms(duplicates.alarms), listed)


def _add_samples(clusters: Sequence[Cluster], source: Artifact, filtered: Artifact, deduped: Artifact) -> None:
    by_id = {cluster.kept_id: cluster for cluster in clusters}
    for member in find_members(deduped.path, by_id):
        cluster = by_id.get(member.decision["kept_id"] or "")
        if cluster is not None and len(cluster.samples) < SAMPLES_PER_CLUSTER:
            shard = source.path / "documents" / member.shard.name
            document = read_document(shard, member.row, ["url", "text"])
            spans = read_document(filtered.path / "filtered" / member.shard.name, member.row, ["redactions"])
            redacted = redact(document["text"], spans["redactions"])
            beginning = " ".join(redacted[: 2 * SAMPLE_CHARACTERS].split())[:SAMPLE_CHARACTERS]
            cluster.samples.append(Sample(document["url"], beginning, member.decision["jaccard"]))


def _samples(cluster: Cluster) -> Iterator[str]:
    for sample in cluster.samples:
        yield element("div", text(sample.beginning))
        yield element("small", text(f"{masked(sample.url)} · Jaccard {sample.jaccard:.3f}"))


def _alarms(alarms: Mapping[str, Sequence[Alarm]]) -> Html:
    raised = [alarm.message for corpus_alarms in alarms.values() for alarm in corpus_alarms]
    if not raised:
        return element("p", text("No guard raised an alarm."))
    return element("ul", *(element("li", text(message)) for message in raised))
