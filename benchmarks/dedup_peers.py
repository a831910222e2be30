"""How others deduplicate, as they document it, on one core. Their words are split at blanks or by a regular expression,
as their default word splitters need a model that is not theirs."""

import contextlib
import hashlib
import io
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from datasketch import MinHash, MinHashLSH
from rensa import RMinHash

WORDS = re.compile(r"\w+")
NGRAM, NUM_PERM, BANDS, ROWS = 5, 128, 16, 8


def shingles(text: str) -> list[str]:
    """Word 5-grams as strings, for interfaces that take tokens."""
    words = WORDS.findall(text.lower())
    return [" ".join(words[start : start + NGRAM]) for start in range(max(1, len(words) - NGRAM + 1))]


def datasketch_bulk(texts: Sequence[str]) -> list[MinHash]:
    """Signatures by `MinHash.bulk` in its default scheme, affine32 over SHA-1."""
    return MinHash.bulk([[each.encode() for each in shingles(text)] for text in texts], num_perm=NUM_PERM, seed=1)


def rensa_matrix(texts: Sequence[str]) -> list[list[int]]:
    """Signatures by rensa's accurate R-MinHash (not its "rho" sketch, which samples 15 tokens of a long text)."""
    result = []
    for text in texts:
        sketch = RMinHash(num_perm=NUM_PERM, seed=1)
        sketch.update(shingles(text))
        result.append(sketch.digest())
    return result


def text_dedup_embed(texts: Sequence[str]) -> list[np.ndarray]:
    """The steps of text-dedup's `embed_func` (word n-grams, SHA-1, permutations modulo 2^61 - 1), restated."""
    draw, prime = np.random.RandomState(42), np.uint64((1 << 61) - 1)
    a = draw.randint(1, prime, size=NUM_PERM, dtype=np.uint64)
    b = draw.randint(0, prime, size=NUM_PERM, dtype=np.uint64)
    result = []
    for text in texts:
        tokens = {each.encode() for each in shingles(text)}
        hashes = np.array([struct.unpack("<I", hashlib.sha1(each).digest()[:4])[0] for each in tokens], np.uint64)
        permuted = ((hashes[:, None] * a + b) % prime) & np.uint64(0xFFFFFFFF)
        result.append(permuted.min(axis=0))
    return result


def datasketch_lsh(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs that share a bucket in MinHashLSH of 16 bands of 8 rows."""
    index = MinHashLSH(num_perm=NUM_PERM, params=(BANDS, ROWS))
    pairs = []
    for number, sketch in enumerate(datasketch_bulk(texts)):
        pairs += [(int(other), number) for other in index.query(sketch)]
        index.insert(number, sketch)
    return pairs


def components(size: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The smallest number connected with each, which is usually the document to keep."""
    parent = list(range(size))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in pairs:
        one, other = find(one), find(other)
        parent[max(one, other)] = min(one, other)
    return [find(node) for node in range(size)]


def datatrove_signer() -> Any:
    """datatrove's stage 1 with its defaults, but SHA-1 and words split at blanks."""
    return _datatrove()[0]


def datatrove_kept(documents: Path, folder: Path) -> set[str]:
    """Ids that datatrove's four stages keep of the Parquet files in `documents`."""
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
    from datatrove.pipeline.readers import ParquetReader

    signer, config = _datatrove(str(folder / "signatures"))
    quiet = io.StringIO()
    remaining = set()
    with contextlib.redirect_stderr(quiet):

        def read() -> Iterator[Any]:
            return ParquetReader(str(documents), text_key="text", id_key="doc_id").run()

        signer.run(read())
        for bucket in range(config.num_buckets):
            buckets = MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)
            buckets.run(None, bucket, config.num_buckets)
        MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=config).run(None, 0, 1)
        for document in MinhashDedupFilter(str(folder / "remove")).run(read(), 0, 1):
            remaining.add(document.id)
    return remaining


def _datatrove(folder: str = "/tmp") -> tuple[Any, Any]:
    from datatrove.pipeline.dedup import minhash
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.logging import logger

    logger.remove()
    minhash.load_word_tokenizer = lambda language: SimpleNamespace(word_tokenize=str.split)
    config = minhash.MinhashConfig(hash_config=HashConfig(precision=64, hash_fc="sha1"))
    return minhash.MinhashDedupSignature(folder, config=config), config


def brute_force_pairs(texts: Sequence[str], threshold: float) -> dict[tuple[int, int], float]:
    """Every pair (i < j) of texts whose Jaccard of word 5-grams reaches `threshold`, with it: no hash, no sketch.

    Candidates are found by prefix filtering: two sets that near share one of the rarest (1 - threshold) part of each.
    """
    sets = [set(shingles(text)) for text in texts]
    frequency: defaultdict[str, int] = defaultdict(int)
    for each in sets:
        for shingle in each:
            frequency[shingle] += 1
    holders: defaultdict[str, list[int]] = defaultdict(list)
    pairs: dict[tuple[int, int], float] = {}
    for number, each in enumerate(sets):
        rarest = sorted(each, key=lambda shingle: (frequency[shingle], shingle))
        prefix = rarest[: len(each) - int(np.ceil(threshold * len(each) - 1e-9)) + 1]
        candidates = {other for shingle in prefix for other in holders[shingle]}
        for other in candidates:
            shared = len(each & sets[other])
            jaccard = shared / (len(each) + len(sets[other]) - shared)
            if jaccard >= threshold:
                pairs[other, number] = jaccard
        for shingle in prefix:
            holders[shingle].append(number)
    return pairs
