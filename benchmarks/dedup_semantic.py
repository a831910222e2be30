"""Duplicates in meaning on one core: the rates of embedding, clustering and comparing, the recall of clusters against
brute force, and the paraphrases that are removed, planted by a template, at several thresholds.

python benchmarks/dedup_semantic.py --model FOLDER [--quick]
"""

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow as pa
from harness import arguments, machine, one_core
from machine_text import machine_texts

from pipelines.dedup.deduplicate import deduplicate
from pipelines.dedup.options import SemanticOptions
from pipelines.dedup.semantic.clusters import NEAREST, SAMPLE_PER_CLUSTER, fit_centers, nearest_centers, num_clusters
from pipelines.dedup.semantic.model import load_model
from pipelines.dedup.semantic.pairs import near_pairs
from pipelines.dedup.semantic.vectors import directions

THRESHOLDS = (0.85, 0.9, 0.95, 0.98)
PEOPLE = "nurse farmer pilot teacher baker judge sailor painter miner singer doctor writer tailor cook driver monk"
PLACES = "harbour village airport school market court island museum valley theatre bridge castle forest hospital"
THINGS = "letter lamp map violin ladder clock basket rope mirror camera drum kettle bicycle painting sword coat"
SENTENCES = (
    ("In the morning the {person} walked to the {place}.", "The {person} went on foot to the {place} at dawn."),
    ("There she bought a {thing} for ten coins.", "For ten coins, a {thing} was purchased there."),
    ("Nobody in the {place} knew where it came from.", "Where it had come from, no one in the {place} could say."),
    ("The {person} repaired the {thing} within a week.", "It took the {person} seven days to fix the {thing}."),
    ("Later it was sold to a collector.", "A collector bought it afterwards."),
    (
        "The {place} still keeps a picture of the {thing}.",
        "A picture of the {thing} is kept in the {place} to this day.",
    ),
)


def main() -> None:
    options = arguments(__doc__.splitlines()[0], model="folder with a static embedding model")
    one_core()
    model = load_model(options.model)
    print(machine("numba", "numpy", "tokenizers"))
    _rates(model.embed, machine_texts(500 if options.quick else 5000))
    _cluster_recall(20_000 if options.quick else 100_000)
    _quality(options.model, 300 if options.quick else 2000)


def _rates(embed, texts: Sequence[str]) -> None:
    embed(texts[:5])
    begin = process_time()
    vectors = embed(texts)
    seconds = process_time() - begin
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(
        f"\nembedded {len(texts):,} texts, {megabytes:.1f} MB: {megabytes / seconds:.2f} MB/s, D = {vectors.shape[1]}"
    )


def _cluster_recall(count: int) -> None:
    """Near pairs of made-up embeddings that share a cluster, of all near pairs; and the time of each step."""
    draw = np.random.default_rng(0)
    topics = draw.normal(size=(200, 256))
    base = topics[draw.integers(0, 200, count // 2)] + draw.normal(size=(count // 2, 256))
    both = np.concatenate([base, base + draw.normal(scale=0.4, size=base.shape)])
    vectors = directions(np.rint(both * 1000).astype(np.int64))
    begin = process_time()
    clusters = num_clusters(count)
    sample = vectors[draw.permutation(count)[: clusters * SAMPLE_PER_CLUSTER]]
    centers = fit_centers(sample, clusters)
    fitted = process_time()
    nearest = nearest_centers(vectors, centers, 4)
    assigned = process_time()
    compared = 0
    for center in range(clusters):
        members = np.flatnonzero((nearest[:, :NEAREST] == center).any(axis=1))
        near_pairs(vectors[members], 0, 0.9)
        compared += len(members)
    done = process_time()
    one, other = nearest[: count // 2], nearest[count // 2 :]
    print(f"{count:,} embeddings, {clusters} clusters: fit {fitted - begin:.2f} s, ", end="")
    print(f"assign {count / (assigned - fitted):,.0f}/s, compare {count / (done - assigned):,.0f}/s")
    for shared in (1, 2, 4):
        same = (one[:, :shared, None] == other[:, None, :shared]).any(axis=(1, 2))
        print(f"pairs of cosine similarity .93 that share one of {shared} nearest clusters: {same.mean():.2%}")


def _quality(model: Path, count: int) -> None:
    """Stories in two wordings that share no sentence, among unlike stories of the same templates."""
    draw = random.Random(0)
    casts = draw.sample([*itertools.product(PEOPLE.split(), PLACES.split(), THINGS.split())], count)
    stories = [(cast, draw.sample(range(len(SENTENCES)), 5)) for cast in casts]
    rewritten = {number: _worded(stories[number], 1) for number in draw.sample(range(count), count // 2)}
    texts = [_worded(story, 0) for story in stories] + list(rewritten.values())
    partner = dict(zip(range(count, len(texts)), rewritten, strict=True))
    names = {str(number + 1): number for number in range(len(texts))}
    print(f"\n{count:,} stories, {len(rewritten):,} of them a second time in other words\n")
    print("| cosine_threshold | paraphrases found | removals that are of the same story |\n|---|---|---|")
    for threshold in (None, *THRESHOLDS):
        rules = SemanticOptions(model, threshold) if threshold else None
        rows = deduplicate(pa.table({"text": texts}), semantic=rules).to_pylist()
        remaining = [row["keep"] for row in rows]
        result = sum(not (remaining[number] and remaining[first]) for number, first in partner.items())
        removed = [(number, names[row["kept_id"]]) for number, row in enumerate(rows) if not row["keep"]]
        same = sum(partner.get(one, one) == partner.get(other, other) for one, other in removed)
        share = f"{same / len(removed):.1%}" if removed else "none"
        print(f"| {threshold or 'words alone'} | {result / len(partner):.1%} | {share} of {len(removed):,} |")


def _worded(story: tuple[tuple[str, str, str], Sequence[int]], wording: int) -> str:
    (person, location, thing), sentences = story
    selected = (SENTENCES[number][wording] for number in sentences)
    return " ".join(selected).format(person=person, place=location, thing=thing)


if __name__ == "__main__":
    main()
