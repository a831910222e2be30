"""What is worked out once for each document that passed the filter, shard by shard: digest, length, band keys."""

import hashlib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from data_recipes.schema import DedupSection
from infra.fanout import ShardResult
from pipelines.artifacts.documents import READ_BATCH_ROWS
from pipelines.dedup.minhash import MULTIPLIER, signatures


@dataclass(frozen=True)
class Shard:
    """One shard of documents with its scores."""

    number: int
    documents: Path
    scores: Path


def sign_shard(section: DedupSection, shard: Shard, folder: Path) -> ShardResult:
    """Write NNNNN.npz: for each passed document its row, the digest of its normalised text, its length in characters
    and in UTF-8 bytes, and its band keys."""
    passed = pq.read_table(shard.scores, columns=["keep"])["keep"].to_numpy()
    digests, characters, sizes, keys = [], [], [], []
    row = 0
    for batch in pq.ParquetFile(shard.documents).iter_batches(READ_BATCH_ROWS, columns=["text"]):
        texts = [text for text, keep in zip(batch["text"].to_pylist(), passed[row:], strict=False) if keep]
        row += batch.num_rows
        digests += [exact_digest(text) for text in texts]
        characters += [len(text) for text in texts]
        sizes += [len(text.encode()) for text in texts]
        num_perm = section.num_bands * section.rows_per_band
        keys.append(band_keys(signatures(texts, section.ngram, num_perm, section.seed), section.num_bands))
    np.savez(
        folder / f"{shard.number:05d}.npz",
        rows=np.flatnonzero(passed),
        digests=np.array(digests, dtype=np.uint64).reshape(-1, 2),
        characters=np.array(characters, dtype=np.int64),
        sizes=np.array(sizes, dtype=np.int64),
        keys=np.concatenate(keys) if keys else np.empty((0, section.num_bands), dtype=np.uint64),
    )
    return ShardResult()


def exact_digest(text: str) -> tuple[int, int]:
    """128 bits of the text in Unicode's composed form with every run of blanks as one space."""
    normal = " ".join(unicodedata.normalize("NFC", text).split())
    digest = hashlib.blake2b(normal.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8]), int.from_bytes(digest[8:])


def band_keys(signed: np.ndarray, num_bands: int) -> np.ndarray:
    """uint64 [documents, num_bands], equal where all rows of a band are; `signed` is [documents, bands x rows].

    Two different bands meet in one key about once in 2^64 pairs; such a pair is then rejected on its text.
    """
    rows = signed.reshape(len(signed), num_bands, signed.shape[1] // num_bands).astype(np.uint64)
    keys = np.zeros(rows.shape[:2], dtype=np.uint64)
    for row in range(rows.shape[2]):
        keys = (keys ^ rows[:, :, row]) * MULTIPLIER
        keys ^= keys >> np.uint64(32)
    return keys
