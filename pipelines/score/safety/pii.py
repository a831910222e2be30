"""Personal data in a text, as spans of characters: each finding is checked by the rules of its kind, so that version
numbers, dates and article numbers stay."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipelines.score.safety.identity_numbers import LETTERS, WORD, cards, national_ids
from pipelines.score.safety.secrets import MIN_CHARACTERS, secrets
from pipelines.score.text.characters import Characters
from pipelines.score.text.layout import Layout

Span = tuple[int, int]
PHONE_DIGITS = range(7, 16)
"""E.164 allows 15; shorter than 7 are no subscriber's."""
RESERVED_DOMAINS = re.compile(r"(?:^|\.)(?:example\.(?:com|net|org|edu)|example|test|invalid|localhost)$")
"""RFC 2606: nobody's."""
NO_TOP_LEVEL_DOMAINS = frozenset(("png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "html", "pdf", "local"))
"""Ends of file names such as logo@2x.png, and mDNS."""
SERVICE_ACCOUNTS = frozenset(("git", "noreply", "no-reply", "donotreply"))
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""RFC 4291, section 2.4; other strings that look like an address are C++ or Rust."""
_LOCAL_PART = re.compile(rf"[{LETTERS}0-9_%+'-](?:[{LETTERS}0-9._%+'-]{{0,62}}[{LETTERS}0-9_%+'-])?$")
_DOMAIN = re.compile(
    rf"(?:[{LETTERS}0-9](?:[{LETTERS}0-9-]{{0,61}}[{LETTERS}0-9])?\.)+([A-Za-zЀ-ӿ]{{2,24}})(?![{LETTERS}0-9_-])"
)
_IPV4 = re.compile(rf"(?<![{WORD}.-])(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?![{WORD}-]|\.\d)")
_IPV6_INSIDE = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(rf"(?<![{WORD}:.])[0-9A-Fa-f]{{1,4}}:[0-9A-Fa-f:]{{1,38}}(?![{WORD}:])")
_VERSION_BEFORE = re.compile(
    r"(?:version|release|build|jdk|jre|\bv|\bver|==|>=|<=|~=|§|"
    r"section|chapter|clause|abschnitt|kapitel|article|rule|table)"
    r"[\s.:=\"'“‘(]*$",
    re.IGNORECASE,
)
_VERSION_BEHIND = re.compile(
    r"\s{1,3}(?:in|of|from)\s{1,3}(?:the\s{1,3})?"
    r"(?:table|section|chapter|clause|article|rule|figure|appendix|version|release)\b",
    re.IGNORECASE,
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ \u00a0-]?[A-Za-z0-9]){11,30}")
_PHONE = re.compile(
    rf"(?<![{WORD}.,+/=$€£-])(?:\+ ?|00)?\(?\d"
    r"(?:(?! ?/ ?(?:\+|00\d))[ \u00a0().\-/\u2010-\u2013]{0,3}\d){6,17}"
    rf"(?![{WORD}%€$£]|[-/.,]\d)"
)
_GROUPED = re.compile(r"\(?0\d*\D|\(\d+\)|\d{3}[ .-]\d{3}[ .-]\d{4}$")
"""A trunk prefix, an area code in brackets, or North America's groups: may be a phone number with no word before it."""
_PHONE_WORD = re.compile(
    r"(?:\b(?:tel|phone|telephone|fon|telefon|fax|call|cell|mobile?|handy|hotline|whatsapp|sms|tél|téléphone|"
    r"teléfono|móvil|telefax)\b|☎|☏|📞|📱)[^\n\d]{0,25}$",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-/. ][01]?\d[-/. ][0-3]?\d|[0-3]?\d[-/. ][01]?\d[-/. ](?:19|20)\d\d)(?!\d)"
)


class Finding(NamedTuple):
    """Characters `start` to `end` (not included) of a text, of one of PII_KINDS."""

    start: int
    end: int
    kind: str


def find_pii(characters: Characters, layout: Layout, phone_regions: Sequence[str]) -> list[Finding]:
    """All findings, in the order of the text; findings of different kinds may overlap."""
    text = characters.text
    groups = number_groups(characters.codes)
    long = layout.word_lengths >= MIN_CHARACTERS
    starts, lengths = layout.word_starts[long], layout.word_lengths[long]
    words = list(zip(starts.tolist(), (starts + lengths).tolist(), strict=True))
    findings = [Finding(*span, "email") for span in emails(text)]
    findings += [Finding(*span, "iban") for span in ibans(text, groups)]
    findings += [Finding(*span, "card") for span in cards(text, groups)]
    findings += [Finding(*span, "national_id") for span in national_ids(text, groups)]
    findings += [Finding(*span, "ip") for span in (*ipv4s(text, groups), *ipv6s(text))]
    findings += [Finding(*span, "phone") for span in phones(text, groups, phone_regions)]
    findings += [Finding(*span, "secret") for span in secrets(text, words)]
    return sorted(findings)


def number_groups(codes: np.ndarray, min_digits: int = 4, max_gap: int = 8) -> list[Span]:
    """Spans around digits that are close to each other: the only candidates for numbers with a meaning."""
    digits = np.flatnonzero(((codes - np.uint32(ord("0"))) < 10) | ((codes - np.uint32(ord("０"))) < 10))
    if len(digits) < min_digits:
        return []
    cuts = np.flatnonzero(np.diff(digits) > max_gap)
    first, last = np.concatenate(([0], cuts + 1)), np.concatenate((cuts, [len(digits) - 1]))
    enough = last - first + 1 >= min_digits
    starts = np.maximum(digits[first[enough]] - max_gap, 0)
    ends = np.minimum(digits[last[enough]] + max_gap + 1, len(codes))
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def emails(text: str) -> Iterator[Span]:
    """Addresses of RFC 5321 as people write them, outside the domains that belong to nobody."""
    at = text.find("@")
    while at >= 0:
        local = _LOCAL_PART.search(text[max(0, at - 64) : at])
        domain = _DOMAIN.match(text, at + 1)
        if local and domain and _is_mailbox(local[0], domain):
            yield at - len(local[0]), domain.end()
        at = text.find("@", at + 1)


def _is_mailbox(local: str, domain: re.Match[str]) -> bool:
    return (
        domain[1].lower() not in NO_TOP_LEVEL_DOMAINS
        and not RESERVED_DOMAINS.search(domain[0].lower())
        and local.lower() not in SERVICE_ACCOUNTS
    )


def ipv4s(text: str, groups: Sequence[Span]) -> Iterator[Span]:
    """Public addresses; four single digits are a version number, and so is a number that is called one."""
    for start, end in groups:
        for match in _IPV4.finditer(text, start, end):
            octets = match[0].split(".")
            if max(map(len, octets)) == 1 or _VERSION_BEFORE.search(text, max(0, match.start() - 12), match.start()):
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
    """Valid numbers: those with a country code, and national ones of `regions` if a word such as Tel. precedes or the
    number is grouped as its country does."""
    for start, end in groups:
        for match in _PHONE.finditer(text, start, end):
            num_digits = sum(map(str.isdigit, match[0]))
            if num_digits not in PHONE_DIGITS or _DATE.search(match[0]):
                continue
            if _is_phone(match, text, regions):
                yield match.span()


def _is_phone(match: re.Match[str], text: str, regions: Sequence[str]) -> bool:
    import phonenumbers

    number = match[0]
    groups = _groups(number)
    if number.startswith("00") and len(groups) > 1:
        number = f"+{number[2:]}"
    international = number.startswith("+")
    called = not international and _PHONE_WORD.search(text, max(0, match.start() - 40), match.start())
    if not (international or called or _GROUPED.match(number)):
        return False
    for region in (None,) if international else regions:
        try:
            parsed = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            continue
        if not phonenumbers.is_valid_number(parsed):
            continue
        national = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
        if international or called or _groups(national) == groups:
            return True
    return False


def _groups(number: str) -> list[str]:
    return re.findall(r"\d+", number)
