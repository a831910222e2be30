"""Payment cards and national identity numbers, identified by their check digits and the words before them."""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module

Span = tuple[int, int]
_CARD = re.compile(
    r"(?<![\w.,+/=-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}|3[47]\d\d([ -])\d{6}\2\d{5}|\d{13,19})(?![\w%€$£]|[-/.,]\d)"
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
MIN_DIFFERENT_DIGITS = 4
"""Numbers for tests, 4111 1111 1111 1111 and its kind, have fewer."""
WORD_CHARACTERS = 40
"""Maximum distance of a number from its word before it."""
_FORMS = (
    (r"ssn|social security", r"\d{3}[- ]\d{2}[- ]\d{4}|\d{9}", "us.ssn"),
    (r"nhs", r"\d{3} ?\d{3} ?\d{4}", "gb.nhs"),
    (r"steuer-?id|steueridentifikation|identifikationsnummer|idnr", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", "de.idnr"),
    (r"sécurité sociale|nir\b|insee", r"[12] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d", "fr.nir"),
    (r"dni|nif", r"\d{8}-?[A-Z]", "es.dni"),
    (r"nie", r"[XYZ]-?\d{7}-?[A-Z]", "es.nie"),
    (r"codice fiscale|c\.f\.", r"[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    (r"bsn|burgerservicenummer", r"\d{9}", "nl.bsn"),
    (r"pesel", r"\d{11}", "pl.pesel"),
    (r"cpf", r"\d{3}\.\d{3}\.\d{3}-\d\d|\d{11}", "br.cpf"),
    (r"aadhaar|aadhar|आधार", r"\d{4} ?\d{4} ?\d{4}", "in_.aadhaar"),
    (r"personnummer", r"(?:19|20)?\d{6}[-+]?\d{4}", "se.personnummer"),
    (r"身份证|身份證", r"\d{17}[\dXx]", "cn.ric"),
    (r"주민등록번호|주민번호", r"\d{6}-?\d{7}", "kr.rrn"),
)
"""Words before a number, its form, and the module of python-stdnum that knows its check digits."""
NATIONAL_IDS = tuple(
    (re.compile(rf"(?:{words})[^\n\d]{{0,20}}?(?<![\w-])(?P<number>{number})(?![\w-])", re.IGNORECASE), module)
    for words, number, module in _FORMS
)


def cards(text: str, groups: Sequence[Span]) -> Iterator[Span]:
    """Card numbers of known issuers with the right check digit, grouped as on a card or behind a word such as Visa."""
    from stdnum import luhn

    for start, end in groups:
        for match in _CARD.finditer(text, start, end):
            digits = re.sub(r"\D", "", match[0])
            known = _ISSUER.match(digits) and len(set(digits)) >= MIN_DIFFERENT_DIGITS and luhn.is_valid(digits)
            is_grouped = len(digits) < len(match[0])
            if known and (
                is_grouped or _CARD_WORD.search(text, max(0, match.start() - WORD_CHARACTERS), match.start())
            ):
                yield match.span()


def national_ids(text: str, groups: Sequence[Span]) -> Iterator[Span]:
    """Numbers of persons behind their word, such as "SSN: ", with the check digits of their country."""
    done = 0
    for start, end in groups:
        first = max(done, start - WORD_CHARACTERS)
        for pattern, module in NATIONAL_IDS:
            match = pattern.search(text, first, end)
            if match and import_module(f"stdnum.{module}").is_valid(match["number"]):
                done = match.end()
                yield match.span("number")
                break
