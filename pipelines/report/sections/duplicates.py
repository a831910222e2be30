"""The part of the page on duplicates: alarms, and the largest clusters with samples of what was removed."""

from collections.abc import Iterator, Mapping, Sequence

from infra.host.masking import masked
from pipelines.artifacts.duplicates import Alarm
from pipelines.report.html.markup import Html, element, section, table, text
from pipelines.report.summary.duplicates import Cluster, Duplicates


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


def _samples(cluster: Cluster) -> Iterator[str]:
    for sample in cluster.samples:
        yield element("div", text(sample.beginning))
        yield element("small", text(f"{masked(sample.url)} · Jaccard {sample.jaccard:.3f}"))


def _alarms(alarms: Mapping[str, Sequence[Alarm]]) -> Html:
    raised = [alarm.message for corpus_alarms in alarms.values() for alarm in corpus_alarms]
    if not raised:
        return element("p", text("No guard raised an alarm."))
    return element("ul", *(element("li", text(message)) for message in raised))
