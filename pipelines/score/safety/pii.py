"""Personal data in a text, as spans of characters: each finding is checked by the rules of its kind, so that version
numbers, dates and article numbers stay."""

import ipaddress
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from pipelines.score.safety.identity_numbers import WORD, cards, national_ids
from pipelines.score.safety.mailboxes import emails
from pipelines.score.safety.secrets import MIN_CHARACTERS, secrets
from pipelines.score.text.characters import Characters
from pipelines.score.text.layout import Layout

Span = tuple[int, int]
PHONE_DIGITS = range(7, 16)
"""E.164 allows 15; shorter than 7 are no subscriber's."""
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""RFC 4291, section 2.4; other strings that look like an address are C++ or Rust."""
FULL_WIDTH_START = 0xFF00
"""Unicode, Halfwidth and Fullwidth Forms: the characters of ASCII behind the blank, in their order."""
_IPV4 = re.compile(rf"(?<![{WORD}.-])(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?![{WORD}-]|\.\d)")
_IPV6_INSIDE = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(rf"(?<![{WORD}:.])[0-9A-Fa-f]{{1,4}}:[0-9A-Fa-f:]{{1,38}}(?![{WORD}:])")
_VERSION_BEFORE = re.compile(
    r"(?:version|release|build|revision|firmware|driver|patch|sdk|jdk|jre|\b[vｖ]|\bver|==|>=|<=|~=|§|"
    r"section|chapter|clause|abschnitt|kapitel|article|rule|table)"
    r"[\s.:=\"'“‘(]*$",
    re.IGNORECASE,
)
_VERSION_BEHIND = re.compile(
    r"\s{1,3}(?:in|of|from)\s{1,3}(?:the\s{1,3})?"
    r"(?:table|section|chapter|clause|article|rule|figure|appendix|version|release)\b",
    re.IGNORECASE,
)
_ADDRESS_BEFORE = re.compile(
    r"(?:\b(?:ips?|ipv4|inet|addr(?:ess)?|adresse|dirección|indirizzo|host|server|serveur|servidor|gateway|router|dns|"
    r"nameserver|resolver|proxy|client|peer|ping|traceroute|ssh|telnet|curl)\b|адрес|地址|アドレス|주소|服务器)"
    r"[^\n\d]{0,12}$|://|@$",
    re.IGNORECASE,
)
"""Of four numbers, three with a single digit: sections and versions such as 1.1.1.12 far outnumber these addresses,
one in 4000."""
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ \u00a0-]?[A-Za-z0-9]){11,30}")
_PHONE = re.compile(
    rf"(?<![{WORD}.,+/=$€£-])(?:\+ ?|00)?\(?\d"
    r"(?:(?! ?/ ?(?:\+|00\d))[ \u00a0().\-/\u2010-\u2013]{0,3}\d){6,17}"
    rf"(?![{WORD}%€$£]|[-/.,]\d)"
)
_GROUPED = re.compile(r"\(?0\d*\D|\(\d+\)|(?:1[ .-])?(?:\d{3}|\(\d{3}\))[ .-]{1,2}\d{3}[ .-]\d{4}$")
"""A trunk prefix, an area code in brackets, or North America's groups: may be a phone number with no word before it."""
_VANITY = re.compile(
    rf"(?<![{WORD}.,/-])(?P<one>1[.-]\(?|1 \(|\+1[ .-]?\(?)?\(?(?P<code>8(?:00|33|44|55|66|77|88))\)?[ .-]{{1,2}}"
    rf"(?=[A-Z0-9 .-]{{0,6}}[A-Z]{{2}})(?P<word>[A-Z0-9](?:[ .-]?[A-Z0-9]){{6,9}})(?![{WORD}])"
)
"""Free numbers of North America that spell a word."""
_FREE_CODE = re.compile(r"8(?:00|33|44|55|66|77|88)")
_COUNTRY_CHARACTERS, _VANITY_CHARACTERS = 4, 40
"""Before the code of a free number, as in "+1 (", and more than it has behind."""
_PHONE_WORD = re.compile(
    r"(?:\b(?:tel|phone|telephone|fon|telefon|fax|call|cell|mobile?|handy|hotline|whatsapp|sms|tél|téléphone|"
    r"teléfono|móvil|telefax)\b|☎|☏|📞|📱)[^\n\d]{0,25}$",
    re.IGNORECASE,
)
_LOCAL_PHONE_WORDS = {
    re.compile(rf"(?:{words})[^\n\d]{{0,25}}$", re.IGNORECASE): regions
    for words, regions in {
        "電話|携帯|ＴＥＬ|ファックス|連絡先": ("JP", "TW", "HK"),
        "电话|手机|手机号|联系电话|座机|热线|传真|微信": ("CN",),
        "手機|專線|傳真": ("TW", "HK"),
        "전화|휴대폰|연락처|핸드폰|팩스": ("KR",),
        r"\b(?:тел|телефон|моб|факс|звоните)": ("RU", "KZ"),
        r"\b(?:телефонуйте|дзвоніть)|\bтел": ("UA",),
        r"\b(?:τηλ|τηλέφωνο|κινητό)": ("GR",),
        "โทร|โทรศัพท์|มือถือ": ("TH",),
        "टेलीफोन|फ़ोन|फोन|मोबाइल": ("IN",),
        "טלפון|טל׳|נייד": ("IL",),
        "هاتف|جوال|موبايل|الهاتف": ("EG", "SA", "AE", "MA"),
        "تلفن|موبایل": ("IR",),
        r"\b(?:điện thoại|đt|sđt)\b": ("VN",),
        r"\b(?:telefone|celular|tel\.:)\b": ("BR", "PT"),
        r"\b(?:cellulare|telefono)\b": ("IT", "ES", "MX", "AR"),
        r"\b(?:telefoonnummer|telefoon|mobiel)\b": ("NL", "BE"),
        r"\b(?:telefonu|komórka|kom\.|zadzwoń)": ("PL",),
        r"\b(?:puhelin|puh\.|gsm)": ("FI",),
        r"\b(?:tlf|telefonnummer|mobil)\b": ("NO", "DK", "SE", "DE", "AT", "CH"),
    }.items()
}
"""Words of one language: its regions, besides those that are asked for."""
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-/. ][01]?\d[-/. ][0-3]?\d|[0-3]?\d[-/. ][01]?\d[-/. ](?:19|20)\d\d)(?!\d)"
)

_YEARS_OR_COUNT = re.compile(r"(?:19|20)\d\d(?:[ /\u2010-\u2013-]{1,3}(?:19|20)\d\d)+|\d+0{6}")
"""Several years, or millions."""


class Finding(NamedTuple):
    """Characters `start` to `end` (not included) of a text, of one of PII_KINDS."""

    start: int
    end: int
    kind: str


def find_pii(characters: Characters, layout: Layout, phone_regions: Sequence[str]) -> list[Finding]:
    """All findings, in the order of the text; findings of different kinds may overlap."""
    text = characters.text
    codes, numbers = _plain_numbers(characters)
    groups = number_groups(codes)
    long = layout.word_lengths >= MIN_CHARACTERS
    starts, lengths = layout.word_starts[long], layout.word_lengths[long]
    words = list(zip(starts.tolist(), (starts + lengths).tolist(), strict=True))
    findings = [Finding(*span, "email") for span in emails(text)]
    findings += [Finding(*span, "iban") for span in ibans(numbers, groups)]
    findings += [Finding(*span, "card") for span in cards(numbers, groups)]
    findings += [Finding(*span, "national_id") for span in national_ids(numbers, groups)]
    findings += [Finding(*span, "ip") for span in (*ipv4s(numbers, groups), *ipv6s(text))]
    findings += [Finding(*span, "phone") for span in phones(numbers, groups, phone_regions)]
    findings += [Finding(*span, "secret") for span in secrets(text, words)]
    return sorted(findings)


def _plain_numbers(characters: Characters) -> tuple[np.ndarray, str]:
    """Code points and text with each decimal digit of Unicode as the ASCII digit of its value, and full-width marks as
    those of ASCII: as long as the original, so that spans are the same."""
    if characters.text.isascii():
        return characters.codes, characters.text
    codes = _digit_folds()[characters.codes]
    return codes, codes.tobytes().decode("utf-32-le", errors="surrogatepass")


@cache
def _digit_folds() -> np.ndarray:
    """uint32 by code point."""
    table = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    for code in range(128, sys.maxunicode + 1):
        character = chr(code)
        if character.isdecimal():
            table[code] = ord("0") + unicodedata.decimal(character)
        elif FULL_WIDTH_START < code < FULL_WIDTH_START + 0x5F and not character.isalpha():
            table[code] = code - FULL_WIDTH_START + ord(" ")
    table[0x3000] = ord(" ")
    return table


def number_groups(codes: np.ndarray, min_digits: int = 4, max_gap: int = 8) -> list[Span]:
    """Spans around digits that are close to each other: the only candidates for numbers with a meaning."""
    digits = np.flatnonzero((codes - np.uint32(ord("0"))) < 10)
    if len(digits) < min_digits:
        return []
    cuts = np.flatnonzero(np.diff(digits) > max_gap)
    first, last = np.concatenate(([0], cuts + 1)), np.concatenate((cuts, [len(digits) - 1]))
    enough = last - first + 1 >= min_digits
    starts = np.maximum(digits[first[enough]] - max_gap, 0)
    ends = np.minimum(digits[last[enough]] + max_gap + 1, len(codes))
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def ipv4s(text: str, groups: Sequence[Span]) -> Iterator[Span]:
    """Public addresses. Four single digits are a version number, and so is a number that is called one; three of them
    are an address only if they are called one."""
    for start, end in groups:
        for match in _IPV4.finditer(text, start, end):
            octets = match[0].split(".")
            if max(map(len, octets)) == 1 or _VERSION_BEFORE.search(text, max(0, match.start() - 12), match.start()):
                continue
            is_short = sorted(map(len, octets))[-2] == 1
            if is_short and not _ADDRESS_BEFORE.search(text, max(0, match.start() - 30), match.start()):
                continue
            if not _VERSION_BEHIND.match(text, match.end()) and _is_public(match[0]):
                yield match.span()


def ipv6s(text: str) -> Iterator[Span]:
    """Public unicast addresses."""
    index = 0
    while inside := _IPV6_INSIDE.search(text, index):
        match = _IPV6.search(text, max(index, inside.start() - 4), inside.end() + 40)
        if match and match.start() <= inside.start():
            # A zero part at the end, or a colon of the sentence.
            is_network = match[0].endswith("::") and match[0].count(":") > 2
            address = match[0] if is_network else match[0].rstrip(":")
            if _is_public(address):
                yield match.start(), match.start() + len(address)
        index = max(inside.end(), match.end() if match else 0)


def _is_public(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast and (address.version == 4 or address in GLOBAL_UNICAST)


def ibans(text: str, groups: Sequence[Span]) -> Iterator[Span]:
    """Account numbers whose country, length and check digits are right (ISO 13616)."""
    from stdnum import iban

    for start, end in groups:
        for match in _IBAN.finditer(text, start, min(end + 34, len(text))):
            ends = range(match.end(), match.start() + 14, -1)
            whole = (end for end in ends if text[end - 1].isalnum() and not text[end : end + 1].isalnum())
            stop = next((end for end in whole if iban.is_valid(text[match.start() : end])), None)
            if stop is not None:
                yield match.start(), stop


def phones(text: str, groups: Sequence[Span], regions: Sequence[str]) -> Iterator[Span]:
    """Valid numbers: those with a country code, national ones of `regions` if a word such as Tel. precedes or the
    number is grouped as its country does, and those of the regions of a language behind its word."""
    for start, end in groups:
        for match in _PHONE.finditer(text, start, end):
            num_digits = sum(map(str.isdigit, match[0]))
            if num_digits not in PHONE_DIGITS or _DATE.search(match[0]) or _YEARS_OR_COUNT.fullmatch(match[0]):
                continue
            if _is_phone(match, text, regions):
                yield match.span()
    yield from _vanity_phones(text)


def _vanity_phones(text: str) -> Iterator[Span]:
    done = 0
    for code in _FREE_CODE.finditer(text):
        first, last = max(done, code.start() - _COUNTRY_CHARACTERS), code.end() + _VANITY_CHARACTERS
        match = _VANITY.search(text, first, last)
        if not match or match.start("code") != code.start():
            continue
        done = match.end()
        if match["one"] or _PHONE_WORD.search(text, max(0, match.start() - 40), match.start()):
            import phonenumbers

            letters = re.sub(r"[^A-Z0-9]", "", match["word"])[:7]
            digits = phonenumbers.convert_alpha_characters_in_number(match["code"] + letters)
            if _national_form(digits, "US") is not None:
                yield match.span()


def _is_phone(match: re.Match[str], text: str, regions: Sequence[str]) -> bool:
    number = match[0]
    groups = _groups(number)
    if number.startswith("00") and len(groups) > 1:
        number = f"+{number[2:]}"
    if number.startswith("+"):
        return _national_form(number, None) is not None
    first = max(0, match.start() - 40)
    called = _PHONE_WORD.search(text, first, match.start())
    if not called and text[first : match.start()].isascii() and not _GROUPED.match(number):
        return False
    if called or _GROUPED.match(number):
        forms = [_dialled_form(number, region) for region in regions]
        if any(form is not None and (called or _groups(form) in (groups, groups[1:])) for form in forms):
            return True
    near = [each for word, each in _LOCAL_PHONE_WORDS.items() if word.search(text, first, match.start())]
    return any(_dialled_form(number, region) is not None for regions in near for region in regions)


def _dialled_form(number: str, region: str) -> str | None:
    """As `_national_form`, if the number has the trunk prefix that the country does not leave out: otherwise a count,
    such as 100000000, is a number of several countries."""
    import phonenumbers

    match = next(iter(phonenumbers.PhoneNumberMatcher(number, region)), None)
    return _national_form(number, region) if match is not None and match.raw_string == number else None


def _national_form(number: str, region: str | None) -> str | None:
    """How a country writes a valid number of its own."""
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))


def _groups(number: str) -> list[str]:
    return re.findall(r"\d+", number)
