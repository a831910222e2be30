"""The part of the page on duplicates: alarms, and the largest clusters with samples of removed documents."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from infra.host.masking import masked
from pipelines.artifacts.duplicates import Alarm
from pipelines.report.html.markup import Html, element, folded, foreign, section, table, text
from pipelines.report.summary.duplicates import SIZES, Cluster, Duplicates

LINE_CHARACTERS = 70
"""Of a kept document, shown with the size of its cluster."""
CLUSTERS_OPEN = 12
"""Clusters in view; the others are behind one more click."""


def duplicates_section(duplicates: Duplicates) -> Html:
    """Each cluster as one line that opens to its texts."""
    lead = (
        f"The {len(duplicates.clusters)} largest clusters of exact and near duplicates with some of the documents "
        "removed. One document of each is kept; `arctic show cluster <id>` shows all and their differences."
    )
    lines = [_cluster(cluster) for cluster in duplicates.clusters]
    first, rest = lines[:CLUSTERS_OPEN], lines[CLUSTERS_OPEN:]
    more = folded(text(f"{len(rest)} more clusters"), *rest) if rest else Html("")
    listed = element("div", *first, more, css="clusters")
    return section("duplicates", "Duplicates", lead, _alarms(duplicates.alarms), _sizes(duplicates.sizes), listed)


def _sizes(sizes: Mapping[str, Sequence[tuple[int, int]]]) -> Html:
    """Kept documents by the size of their clusters: what `mix.rehydrate` would give back of the duplicates' weight."""
    ranges = [f"{start:,}" if end - start == 1 else f"{start:,} to {end - 1:,}" for start, end in pairwise(SIZES)]
    names = [*ranges, f"{SIZES[-1]:,} and more"]
    rows = [
        [text(corpus), text(name), text(f"{num_kept:,}"), text(f"{stand_for:,}")]
        for corpus, counts in sizes.items()
        for name, (num_kept, stand_for) in zip(names, counts, strict=True)
        if num_kept
    ]
    return table(["Corpus", "Cluster size", "Kept documents", "Documents they stand for"], rows, numbers=3)


def _cluster(cluster: Cluster) -> Html:
    size, beginning = element("b", text(f"{cluster.size:,}")), cluster.beginning
    line = Html(f"{size} documents of {text(cluster.corpus)}{element('span', text(_short(beginning)), css='soft')}")
    stands = Html(element("small", text("kept "), element("code", text(cluster.kept_id))) + foreign("pre", beginning))
    return folded(line, stands, *_samples(cluster))


def _short(beginning: str) -> str:
    return beginning if len(beginning) <= LINE_CHARACTERS else f"{beginning[:LINE_CHARACTERS]}…"


def _samples(cluster: Cluster) -> Iterator[Html]:
    for sample in cluster.samples:
        yield element("small", text(f"removed, {sample.evidence}: {masked(sample.url)}"))
        yield foreign("pre", sample.beginning)


def _alarms(alarms: Mapping[str, Sequence[Alarm]]) -> Html:
    raised = [alarm.message for corpus_alarms in alarms.values() for alarm in corpus_alarms]
    if not raised:
        return element("p", text("No guard raised an alarm."))
    return element("ul", *(element("li", text(message)) for message in raised))
