"""Training texts of long_context.py: repetitions, notes whose numbers are asked for again, and Python's library.

No number of a note follows from its words, so a model can only look it up. Words and lines are those of Python's own
standard library; the suite long_context, which judges, has its own.
"""

import random
import re
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.source.generated.ledgers import SYLLABLES, WORDS

HELD_OUT = 20
"""One source file in so many is kept from training."""
NAMES = (*(first + second for first in SYLLABLES for second in SYLLABLES), *WORDS)
STATEMENTS = (
    *("The {key} is {number}.", "{number} is the {key}.", "The {key}: {number}."),
    "The {key} is {number}. Remember it. {number} is the {key}.",
)
QUESTIONS = ("What is the {key}? The {key} is {number}.", "The {key} is {number}.")
RESTATEMENTS = (*STATEMENTS[:3], QUESTIONS[0], "Remember {number}.")
NUM_ENTRIES = (1, 1, 1, 2, 3)
SHORT_NOTE_SHARES, NOTE_SHARES = (0.0, 0.2, 0.4), (0.3, 0.6, 0.8, 0.9)
"""Of sentences without a number in the notes of 64 tokens, and in longer ones."""


@dataclass(frozen=True)
class Library:
    """Source files of Python's standard library, its lines of prose and code without digits, and its words."""

    files: Sequence[str]
    lines: Sequence[str]
    words: Sequence[str]


@cache
def library(held_out: bool) -> Library:
    folder = Path(sysconfig.get_paths()["stdlib"])
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.py"))
    own = [name for name in names if not {"site-packages", "test", "tests"} & {*Path(name).parts}]
    selected = [name for name in own if (crc32(name.encode()) % HELD_OUT == 0) == held_out]
    files = [(folder / name).read_text(encoding="utf-8", errors="replace") for name in selected]
    lines = [line.strip() for text in files for line in text.splitlines()]
    words = sorted({word for text in files for word in re.findall(r"\b[a-z]{3,9}\b", text)})
    return Library(files, [line for line in lines if 25 < len(line) < 90 and not re.search(r"\d", line)], words)


def vocabulary_texts() -> list[str]:
    """Names, each of which becomes a token, and code."""
    names = [repeated_names(random.Random(f"vocabulary/{number}"), 2000, 30) for number in range(300)]
    return [*names, *(text[:4000] for text in library(held_out=False).files[::4])]


def training_texts(kind: str, num_tokens: int, count: int, tokenizer: TextTokenizer) -> Sequence[str]:
    """`count` texts of one kind for sequences of `num_tokens`; of source files, no more than there are."""
    if kind == "code":
        return library(held_out=False).files[:count]
    make = {
        "names": lambda rng: repeated_names(rng, 5 * num_tokens, num_tokens // 2),
        "words": lambda rng: repeated_words(rng, 2 * num_tokens, num_tokens // 4),
        "numbers": lambda rng: repeated_numbers(rng, num_tokens - 2, num_tokens // 12),
        "notes": lambda rng: note(rng, 4 * num_tokens, NOTE_SHARES if num_tokens > 64 else SHORT_NOTE_SHARES),
        "distant": lambda rng: distant_note(rng, num_tokens, tokenizer),
    }[kind]
    return [make(random.Random(f"{kind}/{num_tokens}/{number}")) for number in range(count)]


def repeated_names(rng: random.Random, num_bytes: int, longest: int) -> str:
    """Names in an order that repeats after at most `longest`: whatever followed one before follows it again."""
    return _repeated(rng, (_name,), num_bytes, longest)


def repeated_numbers(rng: random.Random, num_bytes: int, longest: int) -> str:
    return _repeated(rng, (_number,), num_bytes, longest)


def repeated_words(rng: random.Random, num_bytes: int, longest: int) -> str:
    """Names, numbers, and words that have several tokens."""
    return _repeated(rng, (_name, _number, _word), num_bytes, longest)


def note(rng: random.Random, num_bytes: int, shares: Sequence[float]) -> str:
    """Numbers that are stated again and again between other sentences, whose share is one of `shares`."""
    fillers, entries, share = _fillers(rng), _entries(rng, rng.choice(NUM_ENTRIES)), rng.choice(shares)
    sentences: list[str] = []
    while sum(map(len, sentences)) < num_bytes:
        is_filler = rng.random() < share
        sentences.append(rng.choice(fillers) if is_filler else _say(rng, rng.choice(entries), RESTATEMENTS))
    return " ".join(sentences)


def distant_note(rng: random.Random, num_tokens: int, tokenizer: TextTokenizer) -> str:
    """Numbers that are stated once, anywhere, and asked for at the end, in `num_tokens` or less. There are more of them
    in long texts, so that a text teaches as much per token."""
    count = max(rng.choice(NUM_ENTRIES), rng.randint(0, num_tokens // 128))
    fillers, entries = _fillers(rng), _entries(rng, count)
    statements = [_say(rng, entry, STATEMENTS) for entry in entries]
    questions = [_say(rng, entry, QUESTIONS) for entry in rng.sample(entries, len(entries))]
    sizes = {text: len(tokenizer.encode(f" {text}")) for text in (*fillers, *statements, *questions)}
    room = num_tokens - 4 - sum(sizes[text] for text in (*statements, *questions))
    room = round(room * rng.choice((rng.uniform(0.3, 1.0), 1.0, 1.0)))
    sentences: list[str] = []
    while (room := room - sizes[filler := rng.choice(fillers)]) >= 0:
        sentences.append(filler)
    for statement in statements:
        sentences.insert(rng.randint(0, len(sentences)), statement)
    return " ".join([*sentences, *questions])


def _entries(rng: random.Random, count: int) -> list[tuple[str, str]]:
    words = library(held_out=False).words
    return [(" ".join(rng.choices(words, k=rng.randint(1, 3))), _number(rng)) for _ in range(count)]


def _fillers(rng: random.Random) -> list[str]:
    """A few sentences, which a text repeats."""
    source = library(held_out=False)
    made = "The {} {} {}s the {}."
    return [
        rng.choice(source.lines) if rng.random() < 0.6 else made.format(*rng.choices(source.words, k=4))
        for _ in range(rng.choice((1, 2, 4, 8)))
    ]


def _say(rng: random.Random, entry: tuple[str, str], forms: Sequence[str]) -> str:
    key, number = entry
    return rng.choice(forms).format(key=key, number=number)


def _repeated(
    rng: random.Random, makers: Sequence[Callable[[random.Random], str]], num_bytes: int, longest: int
) -> str:
    order = [rng.choice(makers)(rng) for _ in range(rng.randint(1, longest))]
    return " ".join(order * (num_bytes // len(order)))[:num_bytes]


def _name(rng: random.Random) -> str:
    return rng.choice(NAMES)


def _word(rng: random.Random) -> str:
    return rng.choice(library(held_out=False).words)


def _number(rng: random.Random) -> str:
    return "".join(rng.choices("0123456789", k=rng.randint(3, 7)))
