"""The evidence of `dedup`: its largest clusters, its alarms, and a search for the members of a cluster.

clusters.parquet   CLUSTERS, the largest first
alarms.json        list of Alarm
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.store.integrity import read_committed
from pipelines.artifacts.documents import shard_paths
from pipelines.artifacts.formats.parquet import ParquetFile, read_table, write_table

CLUSTERS_FILE = "clusters.parquet"
CLUSTERS = pa.schema([pa.field("kept_id", pa.string(), nullable=False), pa.field("size", pa.int32(), nullable=False)])
"""`kept_id`: the representative of the cluster, which also names it; `size`: its members, more than one."""
CLUSTERS_LISTED = 1000
"""Maximum number of clusters in the file; DECISIONS has the sizes of all clusters."""

ALARMS_FILE = "alarms.json"


@dataclass(frozen=True)
class Alarm:
    """`kind`: "removed_fraction" of an origin, or of the whole corpus ("" as `subject`), or "cluster_size" of the
    cluster named `subject`; `value` is above `limit`."""

    kind: str
    subject: str
    value: float
    limit: float
    message: str


@dataclass(frozen=True)
class Member:
    """A document of a cluster: its shard and row, and its row of DECISIONS."""

    shard: Path
    row: int
    decision: Mapping[str, Any]


def write_clusters(table: pa.Table, folder: Path) -> None:
    write_table(table, folder / CLUSTERS_FILE)


def read_clusters(artifact: Path) -> list[tuple[str, int]]:
    """(kept_id, size) of the largest clusters, the largest first."""
    table = read_table(artifact / CLUSTERS_FILE)
    return list(zip(table["kept_id"].to_pylist(), table["size"].to_pylist(), strict=True))


def write_alarms(alarms: Sequence[Alarm], folder: Path) -> None:
    text = json.dumps([asdict(alarm) for alarm in alarms], indent=1, ensure_ascii=False)
    (folder / ALARMS_FILE).write_text(text + "\n", encoding="utf-8")


def read_alarms(artifact: Path) -> list[Alarm]:
    return [Alarm(**fields) for fields in json.loads(read_committed(artifact / ALARMS_FILE))]


def find_members(artifact: Path, kept_ids: Collection[str]) -> Iterator[Member]:
    """Documents of a dedup artifact that are named in `kept_ids` or whose representative is, in order."""
    kept_id_array = pa.array(sorted(kept_ids), pa.string())
    for shard in shard_paths(artifact, "decisions"):
        table = read_table(shard)
        is_member = pc.or_kleene(pc.is_in(table["doc_id"], kept_id_array), pc.is_in(table["kept_id"], kept_id_array))
        rows = pc.indices_nonzero(is_member)
        for row, decision in zip(rows.to_pylist(), table.take(rows).to_pylist(), strict=True):
            yield Member(shard, row, decision)


def count_cluster_sizes(artifact: Path, starts: Sequence[int]) -> list[tuple[int, int]]:
    """For each range of cluster sizes, from one of the ascending `starts` to below the next: the kept documents of a
    dedup artifact whose clusters have such a size, and the documents that these stand for, themselves included."""
    num_kept, stand_for = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
    for shard in shard_paths(artifact, "decisions"):
        table = read_table(shard, columns=["keep", "cluster_size"])
        sizes = table.filter(table["keep"])["cluster_size"].to_numpy().astype(np.int64)
        ranges = np.searchsorted(starts, sizes, side="right") - 1
        num_kept += np.bincount(ranges, minlength=len(starts))
        np.add.at(stand_for, ranges, sizes)
    return list(zip(num_kept.tolist(), stand_for.tolist(), strict=True))


def describe_evidence(decision: Mapping[str, Any]) -> str:
    """The evidence of the removal in a row of DECISIONS, for people.

    >>> describe_evidence({"jaccard": 0.9, "containment": 1.0, "shared_bands": 7})
    'Jaccard 0.900, containment 1.000, 7 bands shared'
    """
    parts = []
    if decision["jaccard"] is not None:
        parts.append(f"Jaccard {decision['jaccard']:.3f}, containment {decision['containment']:.3f}")
        parts.append(f"{decision['shared_bands']} bands shared")
    if decision.get("cosine") is not None:
        parts.append(f"cosine similarity {decision['cosine']:.3f}")
    return ", ".join(parts) or "of a document that was itself removed for this one"


def read_document(documents: Path, row: int, columns: Sequence[str]) -> dict[str, Any]:
    """One row of a shard of documents; only its row group is read."""
    file = ParquetFile(documents)
    for number in range(file.num_row_groups):
        size = file.metadata.row_group(number).num_rows
        if row < size:
            record: dict[str, Any] = file.read_row_group(number, columns=list(columns)).slice(row, 1).to_pylist()[0]
            return record
        row -= size
    raise IndexError(f"{documents}: no row {row} beyond its last row group; build dedup again")
