"""Recall and precision of deduplication, against brute force, with and without verification on text.

    python benchmarks/dedup_quality.py [--quick]

Recall: of all pairs of texts with J >= 0.8, the share of which no more than one is kept. Precision: of all texts
removed, the share for which a text with J >= 0.8 is kept.
"""

import itertools
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dedup_peers import brute_force_pairs, components, datasketch_lsh, datatrove_kept
from harness import arguments, machine, report
from machine_text import machine_texts
from planted import planted, run_stage, write_corpus

from data_recipes.schema import DedupSection
from pipelines.artifacts.documents import Document
from pipelines.dedup.minhash import band_words, bucket_keys, shingle, signatures

THRESHOLD = 0.8
GOAL = "recall >= 97 % of pairs with J >= 0.8, precision of removals >= 99.5 %"


def ours(corpus: Path, folder: Path, documents: Sequence[Document]) -> set[int]:
    """Numbers of the texts that the stage keeps."""
    run_stage(corpus, folder, DedupSection())
    table = pa.concat_tables(pq.read_table(path) for path in sorted((folder / "out" / "decisions").iterdir()))
    remaining = set(table.filter(table["keep"])["doc_id"].to_pylist())
    return {number for number, document in enumerate(documents) if document.doc_id in remaining}


def ours_unverified(texts: Sequence[str]) -> set[int]:
    """The documents that the same bands keep if every component of the buckets counts as a cluster."""
    words = band_words(signatures(shingle(pa.array(texts, pa.large_string()), 5), 128, 1), 16)
    pairs: list[tuple[int, int]] = []
    for keys in bucket_keys(words).T:
        order = np.argsort(keys, kind="stable")
        pairs += [(int(one), int(other)) for one, other in itertools.pairwise(order) if keys[one] == keys[other]]
    return set(components(len(texts), pairs))


def judge(remaining: Collection[int], size: int, pairs: Mapping[tuple[int, int], float]) -> tuple[float, float, int]:
    """Recall, precision, number of texts removed."""
    near: dict[int, set[int]] = {}
    for one, other in pairs:
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    result = sum(not (one in remaining and other in remaining) for one, other in pairs)
    removed = [number for number in range(size) if number not in remaining]
    right = sum(any(other in remaining for other in near.get(number, ())) for number in removed)
    return result / len(pairs), right / max(1, len(removed)), len(removed)


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    texts = list(dict.fromkeys(planted(machine_texts(400 if quick else 3000))))
    pairs = brute_force_pairs(texts, THRESHOLD)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        documents = write_corpus(texts, home / "corpus", 1)
        number_of = {document.doc_id: number for number, document in enumerate(documents)}
        remaining = {
            "ours": ours(home / "corpus", home / "ours", documents),
            "ours without verification": ours_unverified(texts),
            "datasketch MinHashLSH": set(components(len(texts), datasketch_lsh(texts))),
            "datatrove": {
                number_of[doc_id] for doc_id in datatrove_kept(home / "corpus" / "documents", home / "datatrove")
            },
        }
    print(machine("datasketch", "datatrove", "numba"))
    print(f"{len(texts):,} different texts, {len(pairs):,} pairs with J >= {THRESHOLD} by brute force\n")
    print("| method | recall of pairs | precision of removals | removed | wrongly |\n|---|---|---|---|---|")
    result = {}
    for name, numbers in remaining.items():
        recall, precision, removed = result[name] = judge(numbers, len(texts), pairs)
        print(f"| {name} | {recall:.2%} | {precision:.2%} | {removed:,} | {removed * (1 - precision):.0f} |")
    peers = {name: precision for name, (_, precision, _) in result.items() if name != "ours"}
    recall, precision, _ = result["ours"]
    report("dedup_quality", precision, peers, "precision of removals", recall, GOAL + " (ratio is the recall)")


if __name__ == "__main__":
    main()
