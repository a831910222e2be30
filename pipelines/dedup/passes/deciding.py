"""The final output of one shard: decisions row by row, the index of the kept documents, its largest clusters."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.documents import DECISIONS, write_shard
from pipelines.artifacts.duplicates import CLUSTERS, CLUSTERS_LISTED
from pipelines.artifacts.formats.arrays import load_array
from pipelines.artifacts.formats.parquet import read_table
from pipelines.dedup import index
from pipelines.dedup.index import Unit
from pipelines.dedup.passes.resolving import VERDICT


@dataclass(frozen=True)
class DecideShard:
    """One shard of the corpus; writes decisions/ (or the folder `kind`), index/ and largest/ under its `number` in the
    corpus."""

    number: int
    num_bands: int
    unit: Unit
    copies: Path
    verdicts: Sequence[Path]
    kind: str = "decisions"

    def run(self, folder: Path) -> Mapping[str, Any]:
        records, words = self.unit.records(), self.unit.words()
        fates = self._fates(records)
        copies = load_array(self.copies, mapped=False)
        documents = read_table(self.unit.documents, columns=["doc_id", "origin"])
        table = _decisions(documents["doc_id"], records, fates, copies, self.num_bands)
        write_shard(table, folder / self.kind, self.number)
        is_kept = fates["kept"] == fates["ordinal"]
        remaining = records[is_kept]
        remaining["size"] = fates["size"][is_kept]
        index.save(folder / "index" / f"{self.number:05d}", remaining, words[is_kept])
        write_shard(largest_clusters([table]), folder / "largest", self.number)
        counts = _counts(table, records, is_kept, copies)
        return counts | {"origins": count_losses(table, documents["origin"])}

    def _fates(self, records: np.ndarray) -> np.ndarray:
        """VERDICT of every record: kept and alone, unless a group decided otherwise."""
        fates = np.zeros(len(records), VERDICT)
        fates["ordinal"] = fates["kept"] = self.unit.first + np.arange(len(records))
        fates["kept_id"], fates["size"] = records["doc_id"], records["size"]
        fates["jaccard"] = fates["containment"] = np.nan
        for path in self.verdicts:
            verdicts = load_array(path)
            bounds = [self.unit.first, self.unit.first + len(records)]
            start, stop = np.searchsorted(verdicts["ordinal"], bounds)
            fates[verdicts["ordinal"][start:stop] - self.unit.first] = verdicts[start:stop]
        return fates


def largest_clusters(tables: Sequence[pa.Table]) -> pa.Table:
    """CLUSTERS of the largest clusters that tables of DECISIONS or of CLUSTERS name."""
    sizes: dict[str, int] = {}
    for table in tables:
        if "cluster_size" in table.column_names:
            several = table.filter(pc.greater(table["cluster_size"], 1))
            ids, counts = pc.coalesce(several["kept_id"], several["doc_id"]), several["cluster_size"]
        else:
            ids, counts = table["kept_id"], table["size"]
        sizes.update(zip(ids.to_pylist(), counts.to_pylist(), strict=True))
    largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:CLUSTERS_LISTED]
    return pa.table([[name for name, _ in largest], [size for _, size in largest]], schema=CLUSTERS)


def count_losses(table: pa.Table, origins: pa.ChunkedArray) -> dict[str, list[int]]:
    """Documents that passed the filter, and those of them removed, by origin."""
    removed = pc.cast(pc.invert(table["keep"]), pa.int64())
    passed = pa.table({"origin": origins, "removed": removed}).filter(pc.not_equal(table["reason"], "filter"))
    counts = passed.group_by("origin").aggregate([("removed", "count"), ("removed", "sum")])
    columns = (counts[name].to_pylist() for name in ("origin", "removed_count", "removed_sum"))
    return {origin: [compared, gone] for origin, compared, gone in zip(*columns, strict=True)}


def _decisions(
    doc_ids: pa.ChunkedArray, records: np.ndarray, fates: np.ndarray, copies: np.ndarray, num_bands: int
) -> pa.Table:
    """DECISIONS for all rows of a shard, those that the filter dropped included."""
    rows = np.concatenate([records["row"], copies["row"]])
    removed = np.concatenate([fates["kept"] != fates["ordinal"], np.ones(len(copies), bool)])
    # A copy shares the fate of its record; if that is kept, the record represents the copy.
    fate = np.concatenate([fates, fates[copies["record"]]])
    own = np.arange(len(fate)) >= len(fates)
    own &= fate["kept"] == fate["ordinal"]
    fate["jaccard"][own] = fate["containment"][own] = 1.0
    fate["shared_bands"][own] = num_bands
    exact = fate["exact"] | own
    gone = _scatter(rows, removed, len(doc_ids), False)
    ids = np.array(index.numbers_to_ids(fate["kept_id"]), object)
    columns: dict[str, Any] = {
        "keep": _scatter(rows, ~removed, len(doc_ids), False),
        "reason": _scatter(rows, _reasons(removed, exact), len(doc_ids), "filter"),
        "kept_id": pa.array(_scatter(rows, ids, len(doc_ids), ""), mask=~gone),
        "cluster_size": _scatter(rows, fate["size"], len(doc_ids), 1),
        "jaccard": pa.array(_scatter(rows, fate["jaccard"], len(doc_ids), np.nan), from_pandas=True),
        "containment": pa.array(_scatter(rows, fate["containment"], len(doc_ids), np.nan), from_pandas=True),
        "shared_bands": pa.array(_scatter(rows, fate["shared_bands"], len(doc_ids), 0), mask=~gone),
    }
    return pa.table({"doc_id": doc_ids, **columns}).select(DECISIONS.names).cast(DECISIONS)


def _reasons(removed: np.ndarray, exact: np.ndarray) -> np.ndarray:
    return np.where(removed, np.where(exact, "exact_duplicate", "near_duplicate"), "").astype(object)


def _scatter(rows: np.ndarray, values: np.ndarray, size: int, otherwise: object) -> np.ndarray:
    column = np.full(size, otherwise, dtype=values.dtype)
    column[rows] = values
    return column


def _counts(table: pa.Table, records: np.ndarray, is_kept: np.ndarray, copies: np.ndarray) -> dict[str, int]:
    reasons = Counter(table["reason"].to_pylist())
    clusters = table.filter(table["keep"])["cluster_size"].to_numpy()
    return {
        "documents_in": len(records) + len(copies),
        "bytes_in": int(records["length"].sum() + copies["length"].sum()),
        "documents": int(is_kept.sum()),
        "bytes": int(records["length"][is_kept].sum()),
        "dropped_exact_duplicate": reasons["exact_duplicate"],
        "dropped_near_duplicate": reasons["near_duplicate"],
        "clusters": int((clusters > 1).sum()),
    }
