"""The index of a shard of documents, for comparison with any other shard: records, band words, sorted runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from pipelines.artifacts.formats.arrays import load_array
from pipelines.artifacts.formats.parquet import read_table
from pipelines.dedup.minhash import bucket_keys
from pipelines.dedup.parts import Part

RECORD = np.dtype(
    [
        ("row", "u4"),
        ("size", "u4"),
        ("quality", "f8"),
        ("length", "i8"),
        ("doc_id", "u8", 2),
        ("digest", "u8", 2),
    ]
)
"""`row`: of the document in its shard; `size`: number of documents that it represents, itself included; `length`: UTF-8
bytes of its text; `digest`: of its words in order."""
WORDS, VECTORS = "words", "vectors"
"""Items that an index compares: band words of texts or of first prompts, or embeddings."""


@dataclass(frozen=True)
class Unit:
    """One shard of documents with its index, the files `<index>.records.npy` and `<index>.words.npy` (of embeddings
    `<index>.vectors.npy`).

    `number`: among all shards of all corpora compared; `corpus`: 0 the earliest, its documents rank before all others;
    `first`: ordinal of its first record; `fixed`: its records are kept documents of an earlier corpus; `part`: the part
    of its texts that is compared.
    """

    number: int
    corpus: int
    first: int
    fixed: bool
    documents: Path
    index: Path
    part: Part = "text"

    def records(self) -> np.ndarray:
        """RECORD [documents], in the order of rows, memory-mapped."""
        return _load(self.index, "records")

    def words(self) -> np.ndarray:
        """uint64 [documents, num_bands] of the records."""
        return _load(self.index, WORDS)

    def vectors(self) -> np.ndarray:
        """int16 [documents, D]: embeddings of the records, memory-mapped."""
        return _load(self.index, VECTORS)


def in_a_row(units: Sequence[Unit]) -> list[Unit]:
    """The same units, the ordinals of each behind those of the one before."""
    first = accumulate((len(unit.records()) for unit in units), initial=0)
    return [replace(unit, first=start) for unit, start in zip(units, first, strict=False)]


def save(index: Path, records: np.ndarray, compared: np.ndarray, kind: str = WORDS) -> None:
    """Write the index files of one shard. `compared`: a row for each of `records`, of band words or as `kind` names."""
    index.parent.mkdir(parents=True, exist_ok=True)
    np.save(_file(index, "records"), records)
    np.save(_file(index, kind), compared)


def load(index: Path, kind: str = WORDS) -> tuple[np.ndarray, np.ndarray]:
    """Records and band words (or what `kind` names) of an index, read from disk where they are touched."""
    return _load(index, "records"), _load(index, kind)


def save_run(run: Path, words: np.ndarray) -> None:
    """Write the bucket keys of all bands, ascending, with the document that each belongs to."""
    keys = bucket_keys(words).reshape(-1)
    order = _ascending(keys)
    run.parent.mkdir(parents=True, exist_ok=True)
    np.save(_file(run, "keys"), keys[order])
    np.save(_file(run, "owners"), (order // words.shape[1]).astype(np.uint32))


def read_run(run: Path, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys from `low` to below `high` of a run, with their documents."""
    keys = _load(run, "keys")
    in_range = slice_of_keys(keys, low, high)
    return keys[in_range], _load(run, "owners")[in_range]


def key_range(number: int, count: int) -> tuple[int, int]:
    """The first key of range `number` of `count` equal ones over all uint64 keys, and the first key after it."""
    low, high = (2**64 * bound // count for bound in (number, number + 1))
    return low, high


def slice_of_keys(keys: np.ndarray, low: int, high: int) -> slice:
    """Those of the ascending uint64 `keys` that are `low` to below `high`."""
    return slice(
        *(len(keys) if bound >= 2**64 else int(np.searchsorted(keys, np.uint64(bound))) for bound in (low, high))
    )


def rank(corpus: np.ndarray, quality: np.ndarray, length: np.ndarray, doc_id: np.ndarray) -> np.ndarray:
    """int64: the order from the best document to the last: earlier corpus, higher quality, longer, smaller doc_id."""
    return np.lexsort((doc_id[:, 1], doc_id[:, 0], -length, -quality, corpus))


def first_with_same(digests: np.ndarray) -> np.ndarray:
    """int64 [N]: the smallest index that has the same row of `digests` [N, 2]."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    starts = np.flatnonzero(np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))[: len(order)])
    first = np.empty(len(order), np.int64)
    first[order] = np.repeat(order[starts], np.diff(starts, append=len(order)))
    return first


def doc_ids(documents: Path) -> np.ndarray:
    """uint64 [documents, 2]: the ids of a shard of documents, 32 hex digits each, as numbers."""
    return ids_to_numbers(read_table(documents, columns=["doc_id"])["doc_id"].to_pylist())


def ids_to_numbers(ids: list[str]) -> np.ndarray:
    """uint64 [ids, 2], in the same order as the hex digits."""
    return np.frombuffer(bytes.fromhex("".join(ids)), ">u8").astype(np.uint64).reshape(-1, 2)


def numbers_to_ids(numbers: np.ndarray) -> list[str]:
    """The hex digits again."""
    digits = np.ascontiguousarray(numbers, ">u8").tobytes().hex()
    return [digits[start : start + 32] for start in range(0, len(digits), 32)]


def _ascending(keys: np.ndarray) -> np.ndarray:
    """The stable order of fewer than 2^32 `keys`, faster than numpy's: equal keys are few and sorted apart."""
    order = np.argsort(keys)
    ordered = keys[order]
    same = np.append(False, ordered[1:] == ordered[:-1])
    tied = np.flatnonzero(same | np.append(same[1:], False))
    groups = np.cumsum(~same[tied]).astype(np.uint64) << np.uint64(32)
    order[tied] = np.sort(groups | order[tied].astype(np.uint64)) & np.uint64(2**32 - 1)
    return order


def _file(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}.{kind}.npy")


def _load(stem: Path, kind: str) -> np.ndarray:
    array: np.ndarray = load_array(_file(stem, kind))
    return array
