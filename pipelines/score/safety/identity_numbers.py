"""Payment cards and national identity numbers, identified by their check digits and the words before them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module

from pipelines.score.safety.national_numbers import NATIONAL_NUMBERS, PLAIN_FORMS, Check

Span = tuple[int, int]
LETTERS = "A-Za-zÀ-ÖØ-öø-ɏͰ-ϿЀ-ӿ"
"""Those of Latin, Greek and Cyrillic. Those of Chinese and its kin stand beside an address or a number without a
blank."""
WORD = rf"{LETTERS}0-9_"
_CARD = re.compile(
    rf"(?<![{WORD}.,+/=-])(?:\d{{4}}([ .\-\u00a0\u2010-\u2013])\d{{4}}\1\d{{4}}\1\d{{4}}"
    rf"|3[47]\d\d([ .\-\u00a0\u2010-\u2013])\d{{6}}\2\d{{5}}|\d{{13,19}})(?![{WORD}%€$£]|[-/.,]\d)"
)
_ISSUER = re.compile(
    r"4|5[1-5]|2(?:2[2-9]|[3-6]|7[01]|720)|3[47]|6(?:011|4[4-9]|5|2)|35(?:2[89]|[3-8])|30[0-5]|36|3[89]"
)
"""ISO/IEC 7812: Visa, Mastercard, American Express, Discover, UnionPay, JCB, Diners Club."""
_CARD_WORD = re.compile(
    r"(?:\b(?:card|visa|mastercard|amex|credit|debit|kreditkarte|karte|carte|tarjeta|carta|cartão|pan|cc)\b|卡|カード|카드|карт)"
    r"[^\n\d]{0,25}$",
    re.IGNORECASE,
)
_CARD_WORD_BEHIND = re.compile(r"\s{0,2}[(\[]?(?:visa|mastercard|amex|american express)\b", re.IGNORECASE)
MIN_DIFFERENT_DIGITS = 4
"""Numbers for tests, 4111 1111 1111 1111 and its kind, have fewer."""
WORD_CHARACTERS = 60
"""Maximum distance of a number from its word before it, with the word."""
MIN_INFLECTED_CHARACTERS = 6
"""Longer words may go on, as in Finnish."""
_SOME_ID = re.compile(r"(?:\d[^\d\s]?\s?){6}|[A-Z]\d{4}[A-Z]")
_SEPARATOR = r"[ \u00a0./(\-\u2010-\u2013]?"


def cards(text: str, groups: Sequence[Span]) -> Iterator[Span]:
    """Card numbers of known issuers with the right check digit, grouped as on a card or behind a word such as Visa."""
    from stdnum import luhn

    for start, end in groups:
        for match in _CARD.finditer(text, start, end):
            digits = re.sub(r"\D", "", match[0])
            known = _ISSUER.match(digits) and len(set(digits)) >= MIN_DIFFERENT_DIGITS and luhn.is_valid(digits)
            if known and (
                len(digits) < len(match[0])
                or _CARD_WORD.search(text, max(0, match.start() - WORD_CHARACTERS), match.start())
                or _CARD_WORD_BEHIND.match(text, match.end())
            ):
                yield match.span()


def national_ids(text: str, groups: Sequence[Span]) -> Iterator[Span]:
    """Numbers of persons beside their word, such as "SSN: ", with the check digits of their country; some have a form
    that needs no word."""
    spans = set()
    for start, end in groups:
        if not _SOME_ID.search(text, start, end):
            continue
        first, last = max(0, start - WORD_CHARACTERS), min(len(text), end + WORD_CHARACTERS)
        near = text[first:last].lower()
        rows = [row for word, named in _rows_by_word().items() if word in near for row in named]
        patterns = [(_beside(words, forms), check) for words, forms, check in rows]
        for pattern, check in (*patterns, *_plain_forms()):
            for match in pattern.finditer(text, first, last):
                if _is_valid(match[match.lastgroup or 0], check):
                    spans.add(match.span(match.lastgroup or 0))
    yield from apart(sorted(spans, key=lambda span: (span[0], -span[1])))


def apart(spans: Iterable[Span]) -> Iterator[Span]:
    """Those of `spans`, in their order, that begin behind the end of the one taken before."""
    done = 0
    for start, end in spans:
        if start >= done:
            yield start, end
            done = end


def _is_valid(number: str, check: Check) -> bool:
    written = number.upper()
    plain = re.sub(r"[^A-Z0-9]", "", written)
    if isinstance(check, str):
        module = import_module(f"stdnum.{check}")
        return bool(module.is_valid(plain) or module.is_valid(written))
    return check(plain)


@cache
def _beside(words: str, forms: str) -> re.Pattern[str]:
    """A pattern of a number that follows one of `words`, or has it in brackets behind it. Made when a text has such a
    word: all patterns together take half a second."""
    marks = {"9": r"\d", "A": "[A-Z]", "*": "[A-Z0-9]"}
    form = "|".join(_SEPARATOR.join(map(marks.__getitem__, each)) for each in forms.split("|"))
    word = "|".join(
        re.escape(each) + (rf"(?![{LETTERS}])" if len(each) < MIN_INFLECTED_CHARACTERS else "")
        for each in words.split("|")
    )
    return re.compile(
        rf"(?<![{LETTERS}])(?:{word})\D{{0,30}}?(?<![{WORD}-])(?P<behind>{form})(?![{WORD}-])"
        rf"|(?<![{WORD}-])(?P<before>{form})\s?[(\[]\s?(?:{word})",
        re.IGNORECASE,
    )


@cache
def _rows_by_word() -> Mapping[str, Sequence[tuple[str, str, Check]]]:
    """NATIONAL_NUMBERS by each word."""
    rows: dict[str, list[tuple[str, str, Check]]] = {}
    for row in NATIONAL_NUMBERS:
        for word in row[0].split("|"):
            rows.setdefault(word, []).append(row)
    return rows


@cache
def _plain_forms() -> Sequence[tuple[re.Pattern[str], Check]]:
    return [(re.compile(rf"(?<![{WORD}.-])(?:{form})(?![{WORD}-])"), check) for form, check in PLAIN_FORMS]
