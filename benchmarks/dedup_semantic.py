"""Duplicates in meaning on one core: the rate of embedding, paraphrases that are removed, planted by a template, at
several thresholds, and the search for near embeddings against semhash's, in turns.

python benchmarks/dedup_semantic.py --model FOLDER [--quick]
"""

import itertools
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import process_time
from typing import cast

import numpy as np
import pyarrow as pa
from harness import arguments, interleave, machine, one_core, report, times_as_fast
from machine_text import machine_texts
from semhash import SemHash
from semhash.utils import Encoder

from pipelines.dedup.deduplicate import deduplicate
from pipelines.dedup.options import SemanticOptions
from pipelines.dedup.semantic.clusters import NEAREST, SAMPLE_PER_CLUSTER, fit_centers, nearest_centers, num_clusters
from pipelines.dedup.semantic.model import load_model
from pipelines.dedup.semantic.pairs import near_pairs
from pipelines.dedup.semantic.vectors import directions, squared_lengths

COSINE = 0.9
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
    print(machine("numba", "numpy", "tokenizers", "semhash", "usearch"))
    _rates(model.embed, machine_texts(500 if options.quick else 5000))
    _quality(options.model, 300 if options.quick else 2000)
    _race(*(5_000, 1) if options.quick else (25_000, 3))


def _rates(embed, texts: Sequence[str]) -> None:
    embed(texts[:5])
    begin = process_time()
    vectors = embed(texts)
    seconds = process_time() - begin
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(
        f"\nembedded {len(texts):,} texts, {megabytes:.1f} MB: {megabytes / seconds:.2f} MB/s, D = {vectors.shape[1]}"
    )


def _race(count: int, repeats: int) -> None:
    """Duplicates among made-up embeddings, half of them noisy copies of the others: cosine similarities of about .93.

    semhash takes the same directions in float32. Recall is of the pairs of a document and its copy.
    """
    draw = np.random.default_rng(0)
    topics = draw.normal(size=(200, 256))
    base = topics[draw.integers(0, 200, count // 2)] + draw.normal(size=(count // 2, 256))
    copies = base + draw.normal(scale=0.4, size=base.shape)
    vectors = directions(np.rint(np.concatenate([base, copies]) * 1000).astype(np.int64))
    both = vectors.astype(np.float64) / np.sqrt(squared_lengths(vectors))[:, None]
    planted = np.flatnonzero((both[: count // 2] * both[count // 2 :]).sum(axis=1) >= COSINE)
    finders = {"ours": _duplicates, "semhash": _duplicates_of_semhash}
    removed: dict[str, set[int]] = {}

    def find(name: str) -> None:
        removed[name] = finders[name](vectors)

    timings = interleave({name: partial(find, name) for name in finders}, repeats)
    print(f"\n{count:,} embeddings, {len(planted):,} copies with a cosine similarity of at least {COSINE}\n")
    print("| contender | CPU s | spread | removed | copies found |\n|---|---|---|---|---|")
    found = {}
    for name, timing in timings.items():
        pairs = ((number, number + count // 2) for number in planted.tolist())
        found[name] = sum(not removed[name].isdisjoint(pair) for pair in pairs) / len(planted)
        figures = (f"{timing.median:.1f}", f"{timing.spread:.0%}", f"{len(removed[name]):,}", f"{found[name]:.2%}")
        print(f"| {name} | {' | '.join(figures)} |")
    ours, peer = timings["ours"], timings["semhash"]
    name = f"dedup_semantic: {count:,} embeddings, {found['ours']:.2%} of copies found, semhash {found['semhash']:.2%}"
    report(name, ours.median, {"semhash": peer.median}, "CPU s", times_as_fast(ours, peer), "at least 1")


def _duplicates(vectors: np.ndarray) -> set[int]:
    """The stage's steps in one process: the later documents of near pairs that share one of the nearest clusters."""
    clusters = num_clusters(len(vectors))
    sample = vectors[np.random.default_rng(0).permutation(len(vectors))[: clusters * SAMPLE_PER_CLUSTER]]
    nearest = nearest_centers(vectors, fit_centers(sample, clusters), NEAREST)
    removed: set[int] = set()
    for center in range(clusters):
        members = np.flatnonzero((nearest == center).any(axis=1))
        later, _, _ = near_pairs(vectors[members], 0, COSINE)
        removed.update(members[later].tolist())
    return removed


def _duplicates_of_semhash(vectors: np.ndarray) -> set[int]:
    names = [str(number) for number in range(len(vectors))]
    index = SemHash.from_embeddings(vectors.astype(np.float32), names, model=cast(Encoder, None))
    return {int(duplicate.record) for duplicate in index.self_deduplicate(COSINE).filtered}


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
