"""Alarms: losses that point to a fault of the rules rather than to duplicates."""

from collections.abc import Mapping, Sequence

from pipelines.artifacts.duplicates import Alarm
from pipelines.dedup.options import DedupOptions

MIN_DOCUMENTS = 100
"""Documents below which an origin's loss raises no alarm: of a handful, all may be copies."""


def find_alarms(
    corpus: str, options: DedupOptions, losses: Mapping[str, Sequence[int]], clusters: Mapping[str, int]
) -> list[Alarm]:
    """Alarms by the limits of `options`. `losses`: documents compared and removed, by origin; `clusters`: sizes."""
    total = [sum(counts[side] for counts in losses.values()) for side in (0, 1)]
    alarms = []
    for origin, (compared, removed) in sorted({"": total, **losses}.items()):
        if compared >= MIN_DOCUMENTS and removed > options.max_removed_fraction * compared:
            where = f"origin {origin}" if origin else "all origins"
            message = (
                f"corpus {corpus}, {where}: {removed:,} of {compared:,} documents are duplicates "
                f"({removed / compared:.1%}), more than dedup.max_removed_fraction = {options.max_removed_fraction}"
            )
            limit = options.max_removed_fraction
            alarms.append(Alarm("removed_fraction", origin, removed / compared, limit, message))
    for kept_id, size in clusters.items():
        if size > options.max_cluster_size:
            message = (
                f"corpus {corpus}: the cluster of {kept_id} has {size:,} documents, more than "
                f"dedup.max_cluster_size = {options.max_cluster_size:,}"
            )
            alarms.append(Alarm("cluster_size", kept_id, size, options.max_cluster_size, message))
    return alarms
