"""Keep or remove by meaning: one group of components decided in order of rank, and the decisions of one shard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.documents import COSINE, DECISIONS, decisions_schema, write_shard
from pipelines.artifacts.formats.arrays import load_array
from pipelines.artifacts.formats.parquet import read_table
from pipelines.dedup.index import RECORD, Unit, numbers_to_ids, rank
from pipelines.dedup.passes.groups import Groups
from pipelines.dedup.semantic.pairs import PAIR

SEMANTIC_DUPLICATE: Final = "semantic_duplicate"
VERDICT = np.dtype(
    [
        ("ordinal", "i8"),
        ("kept", "i8"),
        ("kept_id", "u8", 2),
        ("size", "u4"),
        ("cosine", "f8"),
    ]
)
"""The decision on one new document: `kept` and `kept_id` name its representative, itself if it is kept; `size`: members
of the cluster; `cosine`: similarity to the representative, NaN if it is kept."""


@dataclass(frozen=True)
class RoutePairs:
    """The pairs of one task of `CompareClusters`, by group: routed/NNNNN.npy (PAIR) and routed/NNNNN.groups.npy."""

    number: int
    compared: Path
    groups: Groups

    def run(self, folder: Path) -> Mapping[str, int]:
        pairs = load_array(self.compared / "pairs" / f"{self.number:05d}.npy")
        groups = self.groups.of(pairs["later"])
        order = np.argsort(groups, kind="stable")
        (folder / "routed").mkdir()
        np.save(folder / "routed" / f"{self.number:05d}.npy", pairs[order])
        np.save(folder / "routed" / f"{self.number:05d}.groups.npy", groups[order])
        return {}


@dataclass(frozen=True)
class ResolveSemantic:
    """Group `number` of components; writes verdicts/NNNNN.npy, by ordinal. `routed`: the folder that `num_sources`
    tasks of `RoutePairs` wrote."""

    number: int
    num_sources: int
    routed: Path
    units: Sequence[Unit]

    def run(self, folder: Path) -> Mapping[str, int]:
        from pipelines.dedup.semantic.kernels import first_kept

        pairs = self._pairs()
        ordinals = np.unique(np.concatenate([pairs["later"], pairs["earlier"]]))
        records, corpus, fixed = _look_up(ordinals, self.units)
        order = rank(corpus, records["quality"], records["length"], records["doc_id"])
        position = np.empty(len(order), np.int64)
        position[order] = np.arange(len(order))
        later, earlier = (position[np.searchsorted(ordinals, pairs[end])] for end in ("later", "earlier"))
        by_rank = np.lexsort((earlier, later))
        starts = np.searchsorted(later[by_rank], np.arange(len(order) + 1))
        heirs, evidence = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
        first_kept(starts, earlier[by_rank], fixed[order], heirs, evidence)
        cosine = np.append(pairs["cosine"][by_rank], np.nan)[evidence]
        (folder / "verdicts").mkdir()
        verdicts = _verdicts(ordinals[order], records[order], heirs, cosine)[~fixed[order]]
        np.save(folder / "verdicts" / f"{self.number:05d}.npy", np.sort(verdicts, order="ordinal"))
        return {}

    def _pairs(self) -> np.ndarray:
        """PAIR of the group, none twice."""
        parts = [np.empty(0, PAIR)]
        for number in range(self.num_sources):
            groups = load_array(self.routed / "routed" / f"{number:05d}.groups.npy")
            start, stop = np.searchsorted(groups, [self.number, self.number + 1])
            parts.append(load_array(self.routed / "routed" / f"{number:05d}.npy")[start:stop])
        return np.unique(np.concatenate(parts))


@dataclass(frozen=True)
class DecideSemantic:
    """One shard of the corpus; writes decisions/ under its `number`, with the reason "filter" for documents without a
    near one."""

    number: int
    unit: Unit
    verdicts: Sequence[Path]

    def run(self, folder: Path) -> Mapping[str, int]:
        doc_ids = read_table(self.unit.documents, columns=["doc_id"])["doc_id"]
        write_shard(_decisions(doc_ids, self._verdicts(), self.unit), folder / "decisions", self.number)
        return {}

    def _verdicts(self) -> np.ndarray:
        """VERDICT of this shard's documents."""
        bounds = [self.unit.first, self.unit.first + len(self.unit.records())]
        parts = [np.empty(0, VERDICT)]
        for path in self.verdicts:
            verdicts = load_array(path)
            start, stop = np.searchsorted(verdicts["ordinal"], bounds)
            parts.append(verdicts[start:stop])
        return np.concatenate(parts)


def _look_up(ordinals: np.ndarray, units: Sequence[Unit]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RECORD, corpus and `fixed` of each of `ordinals`, ascending."""
    records = np.empty(len(ordinals), RECORD)
    corpus, fixed = np.empty(len(ordinals), np.int64), np.empty(len(ordinals), bool)
    for unit in units:
        own = unit.records()
        part = slice(*np.searchsorted(ordinals, [unit.first, unit.first + len(own)]))
        records[part] = own[ordinals[part] - unit.first]
        corpus[part], fixed[part] = unit.corpus, unit.fixed
    return records, corpus, fixed


def _verdicts(ordinals: np.ndarray, records: np.ndarray, heirs: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """VERDICT of documents in order of rank; `heirs` are positions among them."""
    verdicts = np.empty(len(ordinals), VERDICT)
    verdicts["ordinal"], verdicts["kept"] = ordinals, ordinals[heirs]
    verdicts["kept_id"] = records["doc_id"][heirs]
    verdicts["size"] = np.bincount(heirs, records["size"], minlength=len(heirs))[heirs]
    verdicts["cosine"] = cosine
    return verdicts


def _decisions(doc_ids: pa.ChunkedArray, verdicts: np.ndarray, unit: Unit) -> pa.Table:
    """DECISIONS and cosine similarities of one shard, with the reason "filter" for documents without a near one."""
    rows = unit.records()["row"][verdicts["ordinal"] - unit.first]
    positions = np.full(len(doc_ids), len(verdicts))
    positions[rows] = np.arange(len(verdicts))
    position = pa.array(positions, mask=positions == len(verdicts))
    removed = pa.array(verdicts["kept"] != verdicts["ordinal"]).take(position)
    kept_ids = pa.array(numbers_to_ids(verdicts["kept_id"]), pa.string())
    columns: dict[str, Any] = {
        "doc_id": doc_ids,
        "keep": pc.fill_null(pc.invert(removed), False),
        "reason": pc.if_else(pc.is_valid(position), SEMANTIC_DUPLICATE, "filter"),
        "kept_id": kept_ids.take(position),
        "cluster_size": pc.fill_null(pa.array(verdicts["size"], pa.int32()).take(position), 1),
        **{name: pa.nulls(len(doc_ids), DECISIONS.field(name).type) for name in ("jaccard", "containment")},
        "shared_bands": pa.nulls(len(doc_ids), pa.int32()),
        "cosine": pa.array(verdicts["cosine"], from_pandas=True).take(position),
    }
    return pa.table(columns).cast(decisions_schema(COSINE.name))
