"""Long texts with something to find, made from a seed: the synthetic part of RULER (Hsieh et al. 2024, arXiv
2404.06654, section 3) and the passkey of Mohtashami and Jaggi (2023, arXiv 2305.16300, section 4.2).

Lengths are in bytes, as no tokenizer is known here. A text is the same for everyone who asks for it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

FILLER = (
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.",
    "The river runs past the mill. The mill stands by the road. The road goes to the sea.",
    "It rained in the morning. It cleared at noon. The evening was calm and warm.",
)
WORDS = (
    *("apple", "bridge", "candle", "desert", "engine", "forest", "garden", "harbor", "island", "jacket", "kitten"),
    *("ladder", "marble", "needle", "orchard", "pencil", "quarry", "ribbon", "saddle", "timber", "umbrella", "valley"),
    *("window", "yellow", "zipper", "anchor", "basket", "copper", "dragon", "ember"),
)
NUM_KEYS = 4
"""Keys in a text with several."""
NUM_HOPS = 3
"""Assignments of a chain of variables."""
NUM_COMMON, COMMON_TIMES, OTHER_TIMES = 3, 30, 3
"""Common words, and the number of times each of them occurs for every OTHER_TIMES times of another word."""


class Puzzle(NamedTuple):
    """A text, the question that ends it, and the strings that a right answer contains."""

    text: str
    question: str
    answers: tuple[str, ...]


def passkey(length_bytes: int, depth: float, rng: random.Random) -> Puzzle:
    """One number, stated once."""
    key = _number(rng)
    needle = f"The pass key is {key}. Remember it. {key} is the pass key."
    return Puzzle(_hidden([needle], length_bytes, [depth], rng), "What is the pass key? The pass key is", (key,))


def multi_key(length_bytes: int, depth: float, rng: random.Random) -> Puzzle:
    """Several numbers, one of which is asked for."""
    names = rng.sample(WORDS, NUM_KEYS)
    numbers = [_number(rng) for _ in names]
    needles = [f"The number of {name} is {number}." for name, number in zip(names, numbers, strict=True)]
    depths = [depth, *(rng.random() for _ in needles[1:])]
    text = _hidden(needles, length_bytes, depths, rng)
    return Puzzle(text, f"What is the number of {names[0]}? The number of {names[0]} is", (numbers[0],))


def variable_tracking(length_bytes: int, depth: float, rng: random.Random) -> Puzzle:
    """A chain of assignments, whose first value is asked for by the last name. The chain begins at `depth`."""
    names, value = rng.sample(WORDS, NUM_HOPS), _number(rng)
    needles = [f"VAR {names[0].upper()} = {value}."]
    needles += [f"VAR {new.upper()} = VAR {old.upper()}." for old, new in pairwise(names)]
    depths = [depth + (1 - depth) * hop / NUM_HOPS for hop in range(NUM_HOPS)]
    text = _hidden(needles, length_bytes, depths, rng)
    return Puzzle(text, f"What is the value of VAR {names[-1].upper()}? The value is", (value,))


def common_words(length_bytes: int, depth: float, rng: random.Random) -> Puzzle:  # noqa: ARG001 - words are everywhere
    """A list of words, some of which occur far more often than the others."""
    words = rng.sample(WORDS, len(WORDS))
    weights = [COMMON_TIMES] * NUM_COMMON + [OTHER_TIMES] * (len(words) - NUM_COMMON)
    drawn: list[str] = []
    size = 0
    while size <= length_bytes:
        drawn += rng.choices(words, weights)
        size += len(drawn[-1]) + 1
    common = tuple(words[:NUM_COMMON])
    return Puzzle(" ".join(drawn), f"The {NUM_COMMON} most common words of the list are", common)


KINDS: Mapping[str, Callable[[int, float, random.Random], Puzzle]] = {
    "passkey": passkey,
    "multi_key": multi_key,
    "variable_tracking": variable_tracking,
    "common_words": common_words,
}
"""Puzzles by name."""


def _number(rng: random.Random) -> str:
    return str(rng.randrange(10_000, 100_000))


def _hidden(needles: Sequence[str], length_bytes: int, depths: Sequence[float], rng: random.Random) -> str:
    """Filler of about `length_bytes` with each needle at its depth, 0 for the begin and 1 for the end."""
    sentences: list[str] = []
    size = sum(map(len, needles))
    while size < length_bytes:
        sentences.append(rng.choice(FILLER))
        size += len(sentences[-1]) + 1
    indices = [round(depth * len(sentences)) for depth in depths]
    for index, needle in sorted(zip(indices, needles, strict=True), reverse=True):
        sentences.insert(index, needle)
    return " ".join(sentences)
