"""Try a tokenizer on hostile texts: whether it reproduces them, and gives the same ids every time."""

import json
import unicodedata
from collections.abc import Iterator
from itertools import chain, product
from typing import Any, NamedTuple

from tokenizers import Regex, Tokenizer, normalizers

from pipelines.artifacts.tokenization.token_bytes import MARK

CODE_POINTS = [*range(0x800), *range(0x800, 0xD800, 0x400), *range(0xE000, 0x110000, 0x8000)]
EVERY_BYTE = unicodedata.normalize("NFC", "".join(map(chr, CODE_POINTS)))
"""A text with every byte that UTF-8 can have."""
CHARACTERS = tuple(
    unicodedata.normalize("NFC", "".join(map(chr, range(start, start + 64))))
    for start in range(0, 0x10000, 64)
    if not 0xD800 <= start < 0xE000
)
"""Every character of the basic plane, with its neighbours."""
BLANKS = (" ", "  ", "\t", "\n", "\n\n\n", "\r\n", "\r", "\v\f", "\u00a0", "\u2003", "\u3000", "\u2028", " " * 40)
INVISIBLE = ("\ufeff", "\u200b", "\u200d", "\u00ad", "\u200f", "\x00", "\x1b", "\ufffd", "\U000e0061")
WORDS = (
    *("a", "The", "ÉCOLE", "naïve", "straße", "İı", "ǅ", "don't", "DON'T", "I 'm", "do n't", "1234567", "3.14", "-0"),
    *(" .", " ,", " ?", " !", " ' ", " 's", "``q''", "“q”", "‘q’", "«q»", "…", "...", "—", "--", "#", "##a", "@a"),
    *("<b>", "</s>", "[UNK]", "[MASK]", "<0x0A>", "<unk>", "▁a", "Ġa", "Ċ", "a</w>", "@@", "&amp;", "%20", "\\n"),
    *("x²", "½", "ﬁ", "ＡＢＣ", "ﾊﾟ", "ﷺ", "Å", "Ω", "e\u0301", "\u1100\u1161", "ा"),
    *("हिन्दी", "ไทย", "한국어", "日本語。", "مرحبا"),
    *("a.b@c.org", "@someone", "#tag", "$5", "+49 170 1234567", "2024-01-02", "12:30", "1.2.3.4", "www.a.org"),
    *('<a href="x">b</a>', "**a**", "```a```", "[a](b)", "\\frac{a}{b}", "a" * 100, "A1" * 50, "\x1b[31m"),
    *("👩‍👩‍👧", "🇩🇪", "C:\\x", "https://a.b/?c=d&e=f#g", "{}", "aaaa", "AAAA", "====", "\t\tx = {1: 'a'};"),
)
NUM_TRIES = 8
"""Times that a text is encoded to see whether its ids stay the same."""
NUM_NAMES = 8192
"""Names of ids in that text, spread over the vocabulary, those of a small one again and again: a random encoding leaves
their merges out."""
COMPILED = "precompiled_charsmap"
"""A string in a normalizer that is no text."""
STAGES = ("normalizer", "pre_tokenizer", "decoder")
"""Parts of a tokenizer that text goes through."""


class Change(NamedTuple):
    """A text that comes back as another one."""

    text: str
    returned: str

    @property
    def is_canonical(self) -> bool:
        """Whether both are the same characters for Unicode, composed in another way."""
        return unicodedata.normalize("NFC", self.text) == unicodedata.normalize("NFC", self.returned)

    @property
    def is_of_sentencepiece(self) -> bool:
        """Whether the losses are only those of every SentencePiece tokenizer: its mark is a blank, and one blank at the
        start of a text may go into the one that it adds there."""
        text = self.text.replace(MARK, " ")
        return any(Change(same, self.returned).is_canonical for same in (text, text.removeprefix(" ")))


def changes(tokenizer: Tokenizer) -> list[Change]:
    """Every hostile text, and every text of CHARACTERS, that does not come back from `tokenizer` as it was."""
    texts = chain(hostile_texts(tokenizer), CHARACTERS)
    pairs = ((text, round_trip(tokenizer, text)) for text in texts)
    return [Change(text, returned) for text, returned in pairs if text != returned]


def untried(tokenizer: Tokenizer) -> list[str]:
    """Patterns by which `tokenizer` replaces or removes text, and by which it changes none of the texts that `changes`
    tries: what they change is unknown."""
    parts = json.loads(tokenizer.to_str())
    patterns = [pattern for name in STAGES for pattern in _destructive_patterns(parts[name])]
    texts = [*hostile_texts(tokenizer), *CHARACTERS] if patterns else []
    return [
        pattern
        for pattern, content in dict.fromkeys(patterns)
        if not any(_is_changed(text, pattern, content) for text in texts)
    ]


def is_random(tokenizer: Tokenizer) -> bool:
    """Whether one text has other ids the next time."""
    names = sorted(tokenizer.get_vocab())
    spread = names[:: len(names) // NUM_NAMES + 1]
    text = " ".join(chain(WORDS, spread * (NUM_NAMES // len(spread))))
    first = tokenizer.encode(text, add_special_tokens=False).ids
    return any(tokenizer.encode(text, add_special_tokens=False).ids != first for _ in range(NUM_TRIES - 1))


def round_trip(tokenizer: Tokenizer, text: str) -> str:
    """The text of the ids of `text`."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def hostile_texts(tokenizer: Tokenizer) -> Iterator[str]:
    """Texts of all bytes, of blanks and marks around words, and of the strings in the tokenizer itself."""
    yield EVERY_BYTE
    yield from BLANKS
    for word, blank in product((*WORDS, *INVISIBLE), BLANKS):
        yield f"{blank}{word}{blank}{word}"
    yield from (f"x{mark}y" for mark in (*WORDS, *INVISIBLE))
    for literal in _literals(tokenizer):
        yield f"x{literal}y{literal}{literal}"
        yield from (f"x{blank}{literal}{blank}y" for blank in BLANKS)


def _literals(tokenizer: Tokenizer) -> list[str]:
    """Added tokens, and strings of the parts that text goes through: each may be one that is replaced or removed."""
    parts = json.loads(tokenizer.to_str())
    added = [token["content"] for token in parts["added_tokens"]]
    literals = dict.fromkeys(chain(added, *(_strings(parts[name]) for name in STAGES)))
    return [literal for literal in literals if literal]


def _destructive_patterns(part: Any) -> Iterator[tuple[str, str]]:
    """Regular expressions of what a part replaces or removes, and what comes in its place."""
    if isinstance(part, list):
        for inner in part:
            yield from _destructive_patterns(inner)
    elif isinstance(part, dict):
        pattern = part.get("pattern")
        is_destructive = part.get("type") == "Replace" or part.get("behavior") == "Removed"
        if is_destructive and isinstance(pattern, dict) and "Regex" in pattern:
            yield pattern["Regex"], part.get("content", "")
        yield from _destructive_patterns(list(part.values()))


def _is_changed(text: str, pattern: str, content: str) -> bool:
    return bool(normalizers.Replace(Regex(pattern), content).normalize_str(text) != text)


def _strings(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict | list):
        for inner in (value for name, value in part.items() if name != COMPILED) if isinstance(part, dict) else part:
            yield from _strings(inner)
