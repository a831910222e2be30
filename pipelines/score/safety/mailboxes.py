"""Mail addresses in a text, also those written so that programs shall not read them."""

import re
from collections.abc import Iterator

from pipelines.score.safety.identity_numbers import LETTERS, apart

Span = tuple[int, int]
RESERVED_DOMAINS = re.compile(r"(?:^|\.)(?:example\.(?:com|net|org|edu)|example|test|invalid|localhost)$")
"""RFC 2606: nobody's."""
NO_TOP_LEVEL_DOMAINS = frozenset(("png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "html", "pdf", "local"))
"""Ends of file names such as logo@2x.png, and mDNS."""
SERVICE_ACCOUNTS = frozenset(("git", "noreply", "no-reply", "donotreply"))
_LOCAL_LETTERS = rf"{LETTERS}\u0591-\u05f4\u0620-\u06d3\u0900-\u0e4e"
"""Of scripts with blanks between words; in others a local part cannot be parted from the text before it."""
_DOMAIN_LETTERS = rf"{_LOCAL_LETTERS}\u3041-\u30ff\u4e00-\u9fff\uac00-\ud7a3"
_LOCAL_PART = re.compile(
    rf"(?:[{_LOCAL_LETTERS}0-9_%+&'-](?:[{_LOCAL_LETTERS}0-9._%+&'-]{{0,62}}[{_LOCAL_LETTERS}0-9_%+'-])?"
    r'|(?<!\S)"[^"@\n]{1,62}"|\{[\w.-]+(?:\s?[,;|/]\s?[\w.-]+){1,20}\})$'
)
"""RFC 5321 and 6531; papers share a domain between names in braces."""
_TOP_LEVEL = "[A-Za-zЀ-ӿͰ-Ͽ]{2,24}|中国|中國|公司|网络|香港|台湾|台灣|한국|भारत|みんな"
_LABEL = rf"[{_DOMAIN_LETTERS}0-9](?:[{_DOMAIN_LETTERS}0-9-]{{0,61}}[{_DOMAIN_LETTERS}0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+({_TOP_LEVEL})(?![{LETTERS}0-9_-])")
_DOT_WORDS = r"dot|punkt|point|punto|ponto|точка|крапка|kropka|τελεία"
_OPEN, _CLOSE, _WRAP = r"[\[({<（［【]", r"[\])}>）］】]", r"[-_*~|=+#\"']"
_DOT = (
    rf"(?:\.|\s?{_OPEN}\s?(?:{_DOT_WORDS}|\.)\s?{_CLOSE}\s?|\s(?:{_DOT_WORDS})\s"
    rf"|\s?{_WRAP}{{1,2}}(?:{_DOT_WORDS}){_WRAP}{{1,2}}\s?)"
)
_AT_WORDS = "arroba|arobase|chiocciola|klammeraffe|собака|małpa|zavináč|παπάκι"
_HIDDEN_AT = re.compile(
    rf"(?P<sure>\s{{0,2}}{_OPEN}\s?(?:at|ät|@|{_AT_WORDS})\s?{_CLOSE}\s{{0,2}}|\(a\)|\[a\]|%40|&#0*64;|&#x0*40;|&commat;|＠|\\@"
    r"|_at_|\*at\*)"
    rf"|(?P<wrapped>\s?({_WRAP})at\3\s?)|(?P<capital>\s(?-i:AT)\s)|(?P<blank>\s@\s|(?<=\S)@\s)"
    rf"|(?P<word>\s(?:at|{_AT_WORDS})\s)",
    re.IGNORECASE,
)
_SIGNS = ("@", "＠", "%40", "&#", "&commat", "ät", "(a)", "[a]", *_AT_WORDS.split("|"))
_CLOSED_AT = re.compile(r"at(?=\s?[\])}>）］】_*~|=+'\"-])")
"""Characters without which no address is hidden, in lower case. A search that begins with letters is fast."""
_SPELLED_DOTS = (" dot ", " punkt ", " точка ", " крапка ")
_HIDDEN_LOCAL = re.compile(
    rf"(?<![{_LOCAL_LETTERS}0-9_%+'.-])[{_LOCAL_LETTERS}0-9_%+'-]{{1,40}}"
    rf"(?:{_DOT}[{_LOCAL_LETTERS}0-9_%+'-]{{1,40}}){{0,4}}$",
    re.IGNORECASE,
)
_KNOWN_TOP_LEVEL = (
    "com|org|net|edu|gov|mil|int|info|biz|name|pro|dev|app|tech|cloud|online|site|shop|blog|xyz|email|agency|studio|"
    "coop|museum|berlin|london|cat|рф|укр|ελ|[a-z]{2}"
)
_HIDDEN_DOMAIN = re.compile(
    rf"(?:{_LABEL}{_DOT}){{1,5}}(?P<top>{_KNOWN_TOP_LEVEL})(?![{LETTERS}0-9_(\[=-]|\.[{LETTERS}0-9])", re.IGNORECASE
)
_PROVIDERS = re.compile(
    r"^(?:gmail|googlemail|yahoo|ymail|hotmail|outlook|icloud|gmx|web|aol|proton(?:mail)?|yandex|mail|qq|163)\b"
)
_NO_NAMES = frozenset(
    (
        "us",
        "me",
        "him",
        "her",
        "them",
        "you",
        "it",
        "look",
        "online",
        "here",
        "available",
        "visit",
        "found",
        "shop",
        "meet",
        "now",
        "store",
        "only",
        "live",
    )
)
_NO_DOMAINS = frozenset(("to", "at", "id", "mm", "mv", "dt", "is", "it's"))
"""Attributes behind Python's product of matrices, and words."""


def emails(text: str) -> Iterator[Span]:
    """Addresses of RFC 5321 as people write them, outside the domains that belong to nobody; "name [at] host [dot] org"
    and its kin, if their top-level domain is a usual one."""
    yield from apart(sorted((*_plain(text), *_hidden(text))))


def _plain(text: str) -> Iterator[Span]:
    for at in _indexes(text, "@"):
        local = _LOCAL_PART.search(text[max(0, at - 120) : at])
        domain = local and (_DOMAIN.match(text, at + 1) or _HIDDEN_DOMAIN.match(text, at + 1))
        if local and domain and _is_mailbox(local[0], _spelled(domain[0])):
            yield at - len(local[0]), domain.end()


def _hidden(text: str) -> Iterator[Span]:
    folded = text.lower()
    spots = [(sign.start() - 4, sign.end() + 6) for sign in _CLOSED_AT.finditer(folded)]
    spots += [(index - 4, index + 16) for sign in _SIGNS for index in _indexes(folded, sign)]
    spots += [(index, index + 4) for index in _indexes(text, " AT ")]
    spots += [(index - 100, index) for dot in _SPELLED_DOTS for index in _indexes(folded, dot)]
    for start, end in spots:
        for mark in _HIDDEN_AT.finditer(text, max(0, start), end):
            yield from _around(mark)


def _around(mark: re.Match[str]) -> Iterator[Span]:
    local = _HIDDEN_LOCAL.search(mark.string[max(0, mark.start() - 80) : mark.start()])
    domain = local and _HIDDEN_DOMAIN.match(mark.string, mark.end())
    if local and domain:
        name, host = _spelled(local[0]), _spelled(domain[0])
        if _is_mailbox(name, host) and _is_meant(mark, name, host, domain):
            yield mark.start() - len(local[0]), domain.end()


def _indexes(text: str, sign: str) -> Iterator[int]:
    index = text.find(sign)
    while index >= 0:
        yield index
        index = text.find(sign, index + 1)


def _spelled(hidden: str) -> str:
    return re.sub(_DOT, ".", hidden, flags=re.IGNORECASE)


def _is_meant(mark: re.Match[str], name: str, host: str, domain: re.Match[str]) -> bool:
    """Whether the words around `mark` are an address and no sentence."""
    if mark.lastgroup == "sure":
        return True
    spelled = host != domain[0]
    if mark.lastgroup == "wrapped":
        return spelled or mark[0].strip()[0] in "'\""
    if mark.lastgroup == "capital":
        return spelled or not (name.isupper() or host.isupper() or name.lower() in _NO_NAMES)
    if mark.lastgroup == "blank":
        return len(name) > 2 and host.islower() and domain["top"] not in _NO_DOMAINS and name.lower() not in _NO_NAMES
    is_name = re.search(r"[\d._]", name) or _PROVIDERS.match(host.lower()) or _is_announced(mark, name)
    return spelled and name.lower() not in _NO_NAMES and bool(is_name)


def _is_announced(mark: re.Match[str], name: str) -> bool:
    before = mark.string[max(0, mark.start() - len(name) - 50) : mark.start()].lower()
    return any(word in before for word in ("mail", "contact", "write", "reach", "kontakt", "correo", "почт", "schreib"))


def _is_mailbox(local: str, domain: str) -> bool:
    domain = domain.lower()
    return (
        domain.rpartition(".")[2] not in NO_TOP_LEVEL_DOMAINS
        and not RESERVED_DOMAINS.search(domain)
        and local.lower() not in SERVICE_ACCOUNTS
    )
