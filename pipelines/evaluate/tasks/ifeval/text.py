"""Counts of IFEval's checkers in a text: sentences, words in capitals, and the language it is written in.

Sentences are those of NLTK's Punkt (Kiss and Strunk 2006) with a list of abbreviations instead of its trained model,
and words those of NLTK's tokenizer as far as it matters for capitals, so that no data need be downloaded. With the
trained model, sentences are counted by it: see `sentences_by`.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

from infra.host.packages import broken

PACKAGE = "langdetect"
"""The package that defines IFEval's checks of languages."""
ABBREVIATIONS = frozenset(
    """
    a.d a.m adm apr aug ave b.c capt co col corp d.c dec dr e.g feb gen gov hon i.e inc jan jr lt ltd maj mr mrs ms mt
    nov oct p.m ph.d pres prof rep rev sen sept sgt sr st u.k u.n u.s u.s.a vs
    """.split()  # noqa: SIM905 - a paragraph instead of fifty lines
)
"""Words whose period ends no sentence."""

_INK = r"[^ \t\n\r\v\f]"
_MARK = r"""[)";}\]*:@'({\[‘’“”«»?!]"""
_DOTS = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)"
_WORD = re.compile(
    rf"""{_DOTS} | (?![("`{{\[:;&\#*@)}}\]\-,])\S+?(?=\s|$|{_MARK}|{_DOTS}|,(?=$|\s|{_MARK}|{_DOTS})) | \S""",
    re.VERBOSE,
)
_FOLLOWED = rf"(?=(?P<after>{_MARK}|\s+(?P<next>\S+)))"
_END = re.compile(rf"([.?!]){_FOLLOWED}")
"""A position at which a sentence may end, with the text after it."""
_LAST_END = re.compile(rf"(?<!{_INK})({_INK}*[.?!]){_FOLLOWED}")
"""The last such position in a run of ink, with the run up to it."""
_CLOSING = re.compile(r"""["')\]}‘’“”«»]+?(?:\s+|(?=--)|$)""", re.MULTILINE)
_NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*")
_INITIAL = re.compile(r"[^\W\d]\.")
_STARTS_NO_SENTENCE = frozenset(";:,.!?")

_LAST_PERIOD = re.compile(r"""(?<=[^.])\.(?=[\])}>"'»”’ ]*+\s*+\Z)""")
_APART = re.compile(
    r"""
    [«“‘„»”’`";@#$%&?!*\[\](){}<>‒–—―] | '' | \.{2,} | -- | [:,](?!\d) | (?<!\w)'(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Characters that separate words without being one."""
_TWO_WORDS = (
    re.compile(r"(?<=[^'])()(')(?= )"),
    re.compile(r"(?<=[^' ])()('[sSmMdD])(?= )"),
    re.compile(r"(?<=[^' ])()('ll|'LL|'re|'RE|'ve|'VE|n't|N'T)(?= )"),
    re.compile(r"\b(can)(not)\b", re.IGNORECASE),
    re.compile(r"\b(d)('ye)\b", re.IGNORECASE),
    re.compile(r"\b(gim|lem)(me)\b", re.IGNORECASE),
    re.compile(r"\b(gon)(na)\b", re.IGNORECASE),
    re.compile(r"\b(got)(ta)\b", re.IGNORECASE),
    re.compile(r"\b(more)('n)\b", re.IGNORECASE),
    re.compile(r"\b(wan)(na)(?= )", re.IGNORECASE),
)
"""Spellings that are written as one word and counted as two."""


def count_sentences(text: str) -> int:
    """Number of sentences in `text`; the text after the last mark is one."""
    return len(_sentences(text))


def count_capital_words(text: str) -> int:
    """How many words are in capitals. A word with a hyphen is one; IT'S, DON'T and CANNOT are two."""
    return sum(word.isupper() for sentence in _sentences(text) for word in _words(sentence))


def language_of(text: str) -> str | None:
    """The code that langdetect gives `text`, the same one every time; None if it finds no feature of any."""
    langdetect = language_detector()
    # Without a seed the same text has several languages.
    langdetect.DetectorFactory.seed = 0
    try:
        language: str = langdetect.detect(text)
        return language
    except langdetect.LangDetectException:
        return None


def language_detector() -> Any:
    """The package langdetect. Raises PackageError if it cannot be imported."""
    try:
        import langdetect
    except ImportError as error:
        raise broken(PACKAGE, "ifeval", error) from error
    return langdetect


@contextmanager
def sentences_by(split: Callable[[str], list[str]] | None) -> Iterator[None]:
    """Within the context sentences are those of `split`; None: by the rules of this module."""
    token = _SPLIT.set(split or rule_sentences)
    try:
        yield
    finally:
        _SPLIT.reset(token)


def _sentences(text: str) -> list[str]:
    return _SPLIT.get()(text)


def rule_sentences(text: str) -> list[str]:
    """The sentences of a text by Punkt's rules and ABBREVIATIONS."""
    spans, start = [], 0
    for end in _ends(text):
        spans.append((start, end.end(1)))
        start = end.start("next") if end["next"] else end.end(1)
    spans.append((start, len(text.rstrip())))
    return _with_closings(text, spans)


def _ends(text: str) -> Iterator[re.Match[str]]:
    """Ends of sentences: at a mark that begins a run of ink, and at the last mark in one."""
    for last in _LAST_END.finditer(text):
        first = _END.match(text, last.start())
        if first and first.end(1) < last.end(1):
            yield first
        if _ends_sentence(last[1] + last["after"]):
            yield last


def _ends_sentence(context: str) -> bool:
    """Whether a sentence ends inside `context`, the ink up to a mark and the text after it."""
    words = [word for line in context.split("\n") for word in _WORD.findall(line)]
    return any(_is_end(word, following) for word, following in pairwise(words))


def _is_end(word: str, following: str) -> bool:
    if word in ("?", "!"):
        return True
    if not word.endswith(".") or word.endswith(".."):
        return False
    stem = word[:-1].lower()
    if stem in ABBREVIATIONS or stem.rpartition("-")[2] in ABBREVIATIONS:
        return False
    continues = following in _STARTS_NO_SENTENCE or following[0].islower()
    if _INITIAL.fullmatch(word):
        return not continues and not following[0].isupper()
    return not (continues and _NUMBER.fullmatch(word))


def _with_closings(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """The texts of `spans`; quotes and brackets at the start of one go to the sentence before it."""
    sentences, moved = [], 0
    for (start, stop), (following, end) in pairwise([*spans, (len(text), len(text))]):
        closing = _CLOSING.match(text[following:end])
        sentence = text[start + moved : following + len(closing[0].rstrip()) if closing else stop]
        moved = closing.end() if closing else 0
        sentences += [sentence] if sentence else []
    return sentences


def _words(sentence: str) -> list[str]:
    words = f" {' '.join(_APART.sub(' ', _LAST_PERIOD.sub(' ', sentence)).split())} "
    for joined in _TWO_WORDS:
        words = joined.sub(r" \1 \2 ", words)
    return words.split()


_SPLIT: ContextVar[Callable[[str], list[str]]] = ContextVar("split", default=rule_sentences)
"""How texts are split into sentences now."""
