"""Which document stands for another one since a further comparison: sorted by id, shard by shard, then one range
of ids at a time, so that a shard looks up its own and reads no other shard."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.documents import shard_paths
from pipelines.artifacts.formats.arrays import load_array
from pipelines.artifacts.formats.parquet import read_table
from pipelines.dedup.passes.buckets import num_ranges
from pipelines.dedup.tasks import Passes

ID_BYTES = 16
ID = np.dtype(f"S{ID_BYTES}")
"""The bytes of an id, which compare as its hex digits do."""
HEIR = np.dtype([("kept", ID), ("size", "i8")])
COLUMNS = ["doc_id", "kept_id", "cluster_size"]


@dataclass(frozen=True)
class SortHeirs:
    """One shard: every document that another one is like, by id, with the one that stands for it, itself if it is
    kept. Writes runs/NNNNN.ids.npy (ID, ascending) and runs/NNNNN.heirs.npy (HEIR)."""

    number: int
    decisions: Path

    def run(self, folder: Path) -> Mapping[str, int]:
        table = read_table(self.decisions, columns=COLUMNS)
        alike = table.filter(pc.greater(table["cluster_size"], 1))
        ids = _ids(alike["doc_id"])
        heirs = np.zeros(len(ids), HEIR)
        heirs["kept"], heirs["size"] = _ids(pc.coalesce(alike["kept_id"], alike["doc_id"])), alike["cluster_size"]
        order = np.argsort(ids)
        _save(folder / "runs" / f"{self.number:05d}", ids[order], heirs[order])
        return {"heirs": len(ids)}


@dataclass(frozen=True)
class JoinHeirs:
    """Range `number` of `count` equal ones over all ids: the runs of all shards in one, ranges/NNNNN.*.npy."""

    number: int
    count: int
    runs: Path
    num_shards: int

    def run(self, folder: Path) -> Mapping[str, int]:
        parts = [self._part(self.runs / f"{shard:05d}") for shard in range(self.num_shards)]
        ids, heirs = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(ids, kind="stable")
        _save(folder / "ranges" / f"{self.number:05d}", ids[order], heirs[order])
        return {}

    def _part(self, run: Path) -> tuple[np.ndarray, np.ndarray]:
        ids, heirs = _load(run)
        start, stop = (_first_at(ids, bound, self.count) for bound in (self.number, self.number + 1))
        return ids[start:stop], heirs[start:stop]


@dataclass(frozen=True)
class Heirs:
    """The ranges that `JoinHeirs` wrote."""

    ranges: Path
    count: int

    def of(self, doc_ids: pa.ChunkedArray) -> pa.Table:
        """`doc_id`, `kept_id` and `cluster_size` of those of `doc_ids` that are like others, each once."""
        wanted = np.unique(_ids(pc.drop_null(doc_ids)))
        matches: list[np.ndarray] = []
        stands: list[np.ndarray] = []
        for number in range(self.count):
            start, stop = (_first_at(wanted, bound, self.count) for bound in (number, number + 1))
            if start < stop:
                ids, heirs = _load(self.ranges / f"{number:05d}")
                position = np.searchsorted(ids, wanted[start:stop])
                is_there = position < len(ids)
                is_there[is_there] = ids[position[is_there]] == wanted[start:stop][is_there]
                matches.append(wanted[start:stop][is_there])
                stands.append(heirs[position[is_there]])
        heirs = np.concatenate([np.empty(0, HEIR), *stands])
        return pa.table(
            [_digits(np.concatenate([np.empty(0, ID), *matches])), _digits(heirs["kept"]), heirs["size"]], COLUMNS
        )


def _ids(hex_digits: pa.ChunkedArray) -> np.ndarray:
    """ID of 32 hex digits each."""
    return np.frombuffer(bytes.fromhex("".join(hex_digits.to_pylist())), ID)


def _digits(ids: np.ndarray) -> pa.Array:
    digits, width = ids.tobytes().hex(), 2 * ID_BYTES
    return pa.array([digits[start : start + width] for start in range(0, len(digits), width)], pa.string())


def _first_at(ids: np.ndarray, number: int, count: int) -> int:
    """Where range `number` of `count` begins among the ascending `ids`."""
    if number == count:
        return len(ids)
    bound = (2 ** (8 * ID_BYTES) * number // count).to_bytes(ID_BYTES, "big")
    return int(np.searchsorted(ids, np.bytes_(bound)))


def _save(stem: Path, ids: np.ndarray, heirs: np.ndarray) -> None:
    stem.parent.mkdir()
    np.save(stem.with_suffix(".ids.npy"), ids)
    np.save(stem.with_suffix(".heirs.npy"), heirs)


def _load(stem: Path) -> tuple[np.ndarray, np.ndarray]:
    """The ids of a run or range and their heirs, memory-mapped."""
    ids, heirs = (load_array(stem.with_suffix(f".{kind}.npy")) for kind in ("ids", "heirs"))
    return ids, heirs


def find_heirs(passes: Passes) -> Heirs:
    """The heirs of documents that the pass `decide` found alike."""
    decisions = shard_paths(passes.folder("decide"), "decisions")
    sort = [SortHeirs(number, file) for number, file in enumerate(decisions)]
    count = num_ranges(sum(each["heirs"] for each in passes.run("sort", sort, "shards sorted")))
    runs = passes.folder("sort") / "runs"
    passes.run("heirs", [JoinHeirs(number, count, runs, len(sort)) for number in range(count)], "id ranges")
    return Heirs(passes.folder("heirs") / "ranges", count)
