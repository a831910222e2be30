"""Near duplicates in scripts with and without blanks between words: recall and precision, and the rate of signatures.

Texts are drawn from a vocabulary of made-up words in the letters of each language. Each has one to a few edits: a word
replaced, dropped, doubled. Pairs count if the Jaccard of their runs of five characters is at least 0.8. Signatures are
compared with datasketch's `MinHash.bulk`, given the runs of five characters as bytes.
"""

import random
from collections.abc import Callable

import pyarrow as pa
from datasketch import MinHash
from harness import arguments, interleave, machine, one_core, report, times_as_fast

from pipelines.dedup.deduplicate import deduplicate
from pipelines.dedup.minhash import portions, shingle, signatures

LETTERS = {
    "en": "etaoinshrdlucmfwypvbgk",
    "zh": "".join(map(chr, range(0x4E00, 0x5200))),
    "ja": "".join(map(chr, (*range(0x3041, 0x3094), *range(0x4E00, 0x4F00)))),
    "th": "".join(map(chr, (*range(0x0E01, 0x0E2F), *range(0x0E30, 0x0E3B), *range(0x0E40, 0x0E4A)))),
}
BLANKS = {"en": " "}
STOPS = {"en": ". ", "zh": "。", "ja": "。", "th": " "}
SENTENCES, WORDS_PER_SENTENCE = 12, 20
THRESHOLD = 0.8
GOAL = "recall >= 0.97 and precision >= 0.995 in zh, ja and th; signatures of Chinese at 25 x datasketch bulk"


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    print("| language | pairs of J >= 0.8 | recall | removed | precision |\n|---|---|---|---|---|")
    for language in LETTERS:
        quality(language, num_texts=300 if quick else 2000)
    one_core()
    speed(num_texts=100 if quick else 400, repeats=3 if quick else 5)


def quality(language: str, num_texts: int) -> None:
    draw = random.Random(language)
    make = maker(language, draw)
    firsts = [make() for _ in range(num_texts)]
    seconds = [rendered(language, edited(first, draw, draw.randint(1, 12))) for first in firsts]
    texts = [*(rendered(language, first) for first in firsts), *seconds]
    sets = [{text[at : at + 5] for at in range(len(text) - 4)} for text in texts]
    near = {n for n in range(num_texts) if jaccard(sets[n], sets[n + num_texts]) >= THRESHOLD}
    table = deduplicate(pa.table({"text": texts}))
    removed = [row for row, keep in enumerate(table["keep"].to_pylist()) if not keep]
    gone = {row % num_texts for row in removed}
    # A text removed wrongly has no other text whose runs of five characters are nearly its own.
    right = sum(
        jaccard(sets[row % num_texts], sets[row % num_texts + num_texts]) >= THRESHOLD - 0.05 for row in removed
    )
    precision = right / max(1, len(removed))
    print(f"| {language} | {len(near):,} | {len(near & gone) / len(near):.3f} | {len(removed):,} | {precision:.3f} |")


def maker(language: str, draw: random.Random) -> Callable[[], list[list[str]]]:
    sizes = (2, 9) if language == "en" else (1, 3)
    words = ["".join(draw.choices(LETTERS[language], k=draw.randint(*sizes))) for _ in range(3000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    return lambda: [draw.choices(words, weights, k=WORDS_PER_SENTENCE) for _ in range(SENTENCES)]


def edited(text: list[list[str]], draw: random.Random, edits: int) -> list[list[str]]:
    changed = [list(sentence) for sentence in text]
    for _ in range(edits):
        sentence = draw.choice(changed)
        location = draw.randrange(len(sentence))
        sentence[location] = draw.choice(["", sentence[location] * 2, draw.choice(draw.choice(text))])
    return changed


def rendered(language: str, text: list[list[str]]) -> str:
    return "".join(BLANKS.get(language, "").join(filter(None, sentence)) + STOPS[language] for sentence in text)


def jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def speed(num_texts: int, repeats: int) -> None:
    make = maker("zh", random.Random(1))
    texts = [rendered("zh", make()) for _ in range(num_texts)]
    table = pa.array(texts, pa.large_string())
    runs = [[text[at : at + 5].encode() for at in range(len(text) - 4)] for text in texts]

    def ours() -> None:
        for start, stop in portions(table):
            signatures(shingle(table.slice(start, stop - start), 5), 128, 1)

    contenders = {"ours": ours, "datasketch bulk": lambda: MinHash.bulk(runs, num_perm=128, scheme="affine32")}
    timings = interleave(contenders, repeats)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    rates = {name: megabytes / timing.median for name, timing in timings.items()}
    ratio = times_as_fast(timings["ours"], timings["datasketch bulk"])
    print(
        f"\nsignatures of Chinese: {rates['ours']:.1f} MB/s, datasketch {rates['datasketch bulk']:.2f}: {ratio:.1f} x"
    )
    print(machine("datasketch", "numba"))
    report("dedup_scripts", rates["ours"], {"datasketch bulk": rates["datasketch bulk"]}, "MB/s per core", ratio, GOAL)


if __name__ == "__main__":
    main()
