"""Generated ledgers: documents whose entries are stated once, and restated and asked for again, near and far.

    Rent of the old boat: 25601. Narrow clerk = 112201. The old boat meets the red lamp. Narrow clerk = 112201.
    What is the rent of the old boat? The rent of the old boat is 25601.

Looking up earlier text (the induction heads of Olsson et al. 2022, arXiv 2209.11895) is learned from texts that repeat
themselves. Words and sentences are none of those of the tasks on long texts, so that these stay a test.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from data_recipes.sections.inputs import LedgersInput
from pipelines.source.document_sink import DocumentSink
from pipelines.source.generated.documents import content_name, generated_document, number_ranges
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit

GENERATOR_VERSION = 1
LEDGERS_PER_SHARD = 1000

SUBJECTS = (
    *("account", "badge", "balance", "batch", "code", "deposit", "extension", "fee", "gate", "height", "invoice"),
    *("level", "licence", "locker", "meter", "order", "page", "permit", "price", "quota", "reading", "rent", "room"),
    *("route", "row", "score", "serial", "shelf", "target", "ticket", "track", "volume", "ward", "weight", "year"),
)
THINGS = (
    *("barn", "beam", "boat", "buffer", "cabin", "cache", "cellar", "chapel", "clerk", "client", "column", "drawer"),
    *("driver", "ferry", "folder", "hammer", "index", "kernel", "kettle", "lamp", "mirror", "module", "packet"),
    *("parser", "piano", "printer", "pump", "query", "record", "rope", "router", "sensor", "server", "signal"),
    *("socket", "statue", "stove", "table", "thread", "tower", "tractor", "tunnel", "wagon"),
)
QUALITIES = (
    *("bright", "broad", "cold", "deep", "dry", "early", "first", "flat", "grey", "heavy", "iron", "late", "long"),
    *("lower", "narrow", "north", "old", "pale", "plain", "quiet", "red", "round", "second", "sharp", "silver"),
    *("small", "southern", "third", "upper", "western", "wide", "young"),
)
DEEDS = ("covers", "follows", "holds", "joins", "keeps", "leaves", "meets", "moves", "shows")
SYLLABLES = (
    *("ba", "bri", "dor", "fal", "gan", "gur", "hol", "jes", "ke", "kor", "len", "lo", "mar", "mi", "nu", "pin"),
    *("pul", "ra", "se", "sul", "tek", "to", "vi", "wa"),
)
WORDS = (*SUBJECTS, *THINGS, *QUALITIES, *DEEDS)
KEYS = ("{subject} of the {thing}", "{thing} {subject}", "{subject} {thing}", "{subject} of {thing}", "{thing}")
IS = "The {key} is {value}."
FORMS = (IS, "{Key}: {value}.", "The {key} was {value} then.", "{value} is the {key}.", "{Key} = {value}.")
QUESTION = "What is the {key}? The {key} is {value}."
KINDS = (("number",), ("number",), ("phrase",), ("name",), ("number", "phrase", "name"))
"""Kinds of values in a ledger. Phrases and names teach to look up, since few of their tokens stand elsewhere in it;
numbers need the context of several digits."""
QUESTION_SHARE, PLAIN_SHARE = 0.25, 0.2
"""Of restated entries, asked for, and in the form IS; the others are in the form of their first statement."""


class Entry(NamedTuple):
    """What a ledger has under a key, and how it first says so."""

    key: str
    value: str
    form: str

    def stated(self, form: str) -> str:
        return form.format(key=self.key, Key=self.key[0].upper() + self.key[1:], value=self.value)


class Ledgers(LedgersInput):
    """Ledgers by number, in shards of LEDGERS_PER_SHARD."""

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:  # noqa: ARG002 - lies in no folder
        """The generator's version."""
        return {"generator": GENERATOR_VERSION}

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        for numbers in number_ranges(self.num_documents, LEDGERS_PER_SHARD):
            yield InputSplit(LedgerNumbers(self, *numbers))


@dataclass(frozen=True)
class LedgerNumbers:
    """Ledgers `first` to `last` - 1."""

    section: Ledgers
    first: int
    last: int

    def read(self, sink: DocumentSink) -> None:
        for number in range(self.first, self.last):
            text, path = numbered_ledger(self.section, number), f"ledgers/{self.section.seed}"
            # Each ledger is one group, named as in its URL.
            split = sink.draw_split(content_name(text))
            sink.write(generated_document(text, path, origin=f"ledgers {GENERATOR_VERSION}", split=split))


def numbered_ledger(section: Ledgers, number: int) -> str:
    """The text of ledger `number`, whoever asks for it."""
    rng = random.Random(f"ledgers/{section.seed}/{number}")
    size = section.min_bytes * (section.max_bytes / section.min_bytes) ** rng.random()
    return ledger(round(size), rng)


def ledger(num_bytes: int, rng: random.Random) -> str:
    """A text of about `num_bytes`: new entries, then a page that restates some of those so far, and so on."""
    page = _Page(rng)
    entries: list[Entry] = []
    kinds, most_new, page_size = rng.choice(KINDS), rng.choice((1, 2, 4, 6)), rng.choice((2, 4, 8, 16))
    while page.num_bytes < num_bytes:
        new = [_entry(rng, kinds) for _ in range(rng.randint(1, most_new))]
        entries += new
        for entry in new:
            page.write(entry.stated(entry.form))
        for entry in _restated(entries, len(new), page_size, rng):
            page.write(_restatement(entry, rng))
    return page.text


class _Page:
    """Sentences so far. Each is followed by some of a few sentences of the ledger's own, none to four on average."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._fillers = [_filler(rng) for _ in range(rng.choice((2, 4, 12)))]
        self._filler_share = rng.choice((0.0, 0.2, 0.5, 0.8))
        self._sentences: list[str] = []
        self.num_bytes = 0

    @property
    def text(self) -> str:
        return " ".join(self._sentences)

    def write(self, sentence: str) -> None:
        self._add(sentence)
        while self._rng.random() < self._filler_share:
            self._add(self._rng.choice(self._fillers))

    def _add(self, sentence: str) -> None:
        self._sentences.append(sentence)
        self.num_bytes += len(sentence) + 1


def _restated(entries: Sequence[Entry], num_new: int, page_size: int, rng: random.Random) -> list[Entry]:
    """The newest, the last or any entries, once or twice, in their order or another."""
    choices = (entries[-num_new:], entries[-page_size:], rng.sample(entries, min(page_size, len(entries))))
    chosen = list(rng.choice(choices))
    repeats = rng.choice((1, 1, 2))
    orders = [chosen if rng.random() < 0.5 else rng.sample(chosen, len(chosen)) for _ in range(repeats)]
    return [entry for order in orders for entry in order]


def _restatement(entry: Entry, rng: random.Random) -> str:
    draw = rng.random()
    if draw < QUESTION_SHARE:
        return entry.stated(QUESTION)
    return entry.stated(IS if draw < QUESTION_SHARE + PLAIN_SHARE else entry.form)


def _entry(rng: random.Random, kinds: Sequence[str]) -> Entry:
    key = rng.choice(KEYS).format(subject=rng.choice(SUBJECTS), thing=_thing(rng))
    return Entry(key, _value(rng, rng.choice(kinds)), rng.choice(FORMS))


def _value(rng: random.Random, kind: str) -> str:
    if kind == "number":
        return "".join(rng.choices("0123456789", k=rng.randint(3, 6)))
    if kind == "phrase":
        return " ".join(rng.choices(WORDS, k=rng.randint(2, 5)))
    return " ".join(_name(rng) for _ in range(rng.randint(1, 2)))


def _thing(rng: random.Random) -> str:
    return rng.choice((f"{rng.choice(QUALITIES)} {rng.choice(THINGS)}", rng.choice(THINGS), _name(rng)))


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3)))


def _filler(rng: random.Random) -> str:
    quality, other = rng.sample(QUALITIES, 2)
    thing, object_ = rng.sample(THINGS, 2)
    return f"The {quality} {thing} {rng.choice(DEEDS)} the {other} {object_}."
