"""Payment cards and national identity numbers, identified by their check digits and the words before them."""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module

Span = tuple[int, int]
LETTERS = "A-Za-zÀ-ÖØ-öø-ɏͰ-ϿЀ-ӿ"
"""Those of Latin, Greek and Cyrillic. Those of Chinese and its kin stand beside an address or a number without a
blank."""
WORD = rf"{LETTERS}0-9０-９_"
_CARD = re.compile(
    rf"(?<![{WORD}.,+/=-])(?:\d{{4}}([ .\-\u00a0\u2010-\u2013\u3000])\d{{4}}\1\d{{4}}\1\d{{4}}"
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
    (r"social insurance|sin\b", r"\d{3}[ -]?\d{3}[ -]?\d{3}", "ca.sin"),
    (r"tfn|tax file number", r"\d{3} ?\d{3} ?\d{2,3}", "au.tfn"),
    (r"ahv|avs\b", r"756\.?\d{4}\.?\d{4}\.?\d\d", "ch.ssn"),
    (r"curp", r"[A-Z]{4}\d{6}[A-Z]{6}[A-Z0-9]\d", "mx.curp"),
    (r"pps\b", r"\d{7}[A-Z]{1,2}", "ie.pps"),
    (r"hetu|henkilötunnus", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", "fi.hetu"),
    (r"cpr\b", r"\d{6}-?\d{4}", "dk.cpr"),
    (r"fødselsnummer|personnummer", r"\d{6} ?\d{5}", "no.fodselsnummer"),
    (r"rodné číslo|rodne cislo", r"\d{6}/?\d{3,4}", "cz.rc"),
    (r"егн|egn", r"\d{10}", "bg.egn"),
    (r"инн", r"\d{12}", "ru.inn"),
    (r"cnp\b", r"\d{13}", "ro.cnp"),
    (r"kimlik", r"\d{11}", "tr.tckimlik"),
    (r"oib\b", r"\d{11}", "hr.oib"),
    (r"rijksregisternummer|registre national", r"\d\d\.?\d\d\.?\d\d-?\d{3}\.?\d\d", "be.nn"),
    (r"αμκα|amka", r"\d{11}", "gr.amka"),
    (r"isikukood", r"\d{11}", "ee.ik"),
    (r"kennitala", r"\d{6}-?\d{4}", "is_.kennitala"),
    (r"מספר זהות|תעודת זהות", r"\d{9}", "il.idnr"),
    (r"เลขประจำตัวประชาชน", r"\d-?\d{4}-?\d{5}-?\d\d-?\d", "th.pin"),
)
"""Words before a number, its form, and the module of python-stdnum that knows its check digits."""
NATIONAL_IDS = tuple(
    (
        re.compile(
            rf"(?<![{LETTERS}])(?:{words})[^\n\d]{{0,20}}?(?<![{WORD}-])(?P<number>{number})(?![{WORD}-])",
            re.IGNORECASE,
        ),
        module,
    )
    for words, number, module in _FORMS
)
_PLAIN_WORDS = tuple(
    word for words, *_ in _FORMS for word in words.replace("-?", "").replace("\\b", "").replace("\\", "").split("|")
)
"""One of them is in every text with a national number, "steuerid" without its hyphen."""


def cards(text: str, groups: Sequence[Span]) -> Iterator[Span]:
    """Card numbers of known issuers with the right check digit, grouped as on a card or behind a word such as Visa."""
    from stdnum import luhn

    for start, end in groups:
        for match in _CARD.finditer(text, start, end):
            # Full-width digits, too, are digits.
            digits = str(int(re.sub(r"\D", "", match[0])))
            known = _ISSUER.match(digits) and len(set(digits)) >= MIN_DIFFERENT_DIGITS and luhn.is_valid(digits)
            if known and (
                len(digits) < len(match[0])
                or _CARD_WORD.search(text, max(0, match.start() - WORD_CHARACTERS), match.start())
                or _CARD_WORD_BEHIND.match(text, match.end())
            ):
                yield match.span()


def national_ids(text: str, groups: Sequence[Span]) -> Iterator[Span]:
    """Numbers of persons behind their word, such as "SSN: ", with the check digits of their country."""
    done = 0
    for start, end in groups:
        first = max(done, start - WORD_CHARACTERS)
        near = text[first:end].lower().replace("-", "")
        if not any(map(near.__contains__, _PLAIN_WORDS)):
            continue
        for pattern, module in NATIONAL_IDS:
            match = pattern.search(text, first, end)
            if match and import_module(f"stdnum.{module}").is_valid(match["number"]):
                done = match.end()
                yield match.span("number")
                break
