"""One spelling for the URLs of one page (RFC 3986, 6.2.2 and 6.2.3), so that they can be compared."""

import ipaddress
import re
import socket
import string
import unicodedata
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

import idna

READING_VERSION = 5
"""Raised if URLs are compared in another way: part of the key of stages that compare them with a list."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"[^/?#:]+\.[^/?#:]+:(\d*)(?:[/?#]|$)")
_WEB_SCHEME = re.compile(r"(https?|ftp|wss?):[/\\]*", re.IGNORECASE)
_ROW_OF_FILE = re.compile(r"[^/?#:@]*#")
"""A bare name with a fragment behind it: how rows of files without a URL are named, and nobody names a page."""
_BEFORE_QUERY = re.compile(r"[^?#]*")
_AROUND = "".join(map(chr, range(33))) + "<>\xa0\u200b\u200e\u200f\u2060\ufeff"
"""Characters that stand around an address in text: blanks, brackets, and what cannot be seen."""
_IPV4_NUMBERS = re.compile(r"(?:(?:0x[0-9a-f]*|\d+)\.){0,3}(?:0x[0-9a-f]+|\d+)")
_PLAIN_IN_PATHS = frozenset((string.ascii_letters + string.digits + "-._~!$'()*,:@[]|").encode())
"""Characters that mean the same escaped as not: the unreserved ones of RFC 3986, and those that separate nothing."""
_PLAIN_IN_QUERIES = _PLAIN_IN_PATHS | frozenset(b"/?")
_BEYOND_ASCII = re.compile(r"[A-Za-z]?(?:%[89A-F][0-9A-F])+")
"""With the letter before, which an accent may belong to."""
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_ALLOWED = frozenset(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/?%[]|")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}


class PageAddress(NamedTuple):
    """The parts of a page's URL, each in its one spelling: `scheme` "web" for http and https, `port` with its colon, ""
    for the default one, `path` "" for the root, and without a slash at the end."""

    scheme: str
    host: str
    port: str
    path: str
    query: str


def page_key(url: str) -> str:
    """The same text for every spelling of the URL of one page; the URL unchanged if it has no host.

    Two URLs name the same page if they differ only in case, escapes, default port, dot segments, spelling of
    internationalised names and of IPv4 addresses, the dot behind the host, the slash behind the path, the number and
    direction of slashes before the host (as browsers read them), composition of letters and accents, user, fragment,
    a "?" without a query, "&" as HTML writes it, or http and https, which may be left out. Queries are compared in
    their order. RFC 3986 lets a server tell "/a?" and "/a/" from "/a"; a list of pages to remove must rather name one
    too many.
    """
    address = page_address(url)
    if not address:
        return url
    host = f"[{address.host}]" if ":" in address.host else address.host
    query = f"?{address.query}" if address.query else ""
    return f"{address.scheme}://{host}{address.port}{address.path}{query}"


def page_address(url: str) -> PageAddress | None:
    """The parts of `page_key`; None if the URL has no host."""
    try:
        parts = _split(url)
        host, port = host_key(parts.hostname or ""), parts.port
    except ValueError:
        return None
    if not host:
        return None
    scheme = parts.scheme.lower()
    return PageAddress(
        "web" if scheme in ("http", "https") else scheme,
        host,
        "" if port is None or port == _DEFAULT_PORTS.get(scheme) else f":{port}",
        _without_dot_segments(_escaped(parts.path, _PLAIN_IN_PATHS)).removesuffix("/"),
        _escaped(parts.query.replace("&amp;", "&"), _PLAIN_IN_QUERIES),
    )


def host_of(url: str) -> str:
    """The host of a URL as `host_key` writes it, "" if it has none."""
    try:
        return host_key(_split(url).hostname or "")
    except ValueError:
        return ""


def host_key(host: str) -> str:
    """The same text for every spelling of one host: lower case, ASCII (UTS 46), without the dot behind it."""
    try:
        name = unquote_to_bytes(host).decode()
    except UnicodeDecodeError:
        name = host
    name = name.strip().rstrip(".\u3002\uff0e\uff61").lower()
    if _IPV4_NUMBERS.fullmatch(name):
        with suppress(OSError):
            return socket.inet_ntoa(socket.inet_aton(name))
    if address := ip_key(name):
        return address
    if name.isascii():
        return name
    try:
        return idna.encode(name, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return ".".join(map(_punycode, name.split(".")))


def ip_key(text: str) -> str | None:
    """An IP address, in brackets or not, as `host_key` writes it; None if `text` is none."""
    is_bracketed = text.startswith("[") and text.endswith("]")
    try:
        return ipaddress.ip_address(text[1:-1] if is_bracketed else text).compressed
    except ValueError:
        return None


def _split(url: str) -> SplitResult:
    """The parts of a URL; one without a scheme, as people write addresses, is of the web."""
    text = url.strip(_AROUND)
    if web := _WEB_SCHEME.match(text):
        before = _BEFORE_QUERY.match(text, web.end())
        assert before is not None
        text = f"{web[1]}://{before[0].replace(chr(92), '/')}{text[before.end() :]}"
    elif text.startswith("//"):
        text = f"http:{text}"
    elif host_and_port := _HOST_AND_PORT.match(text):
        is_secure = host_and_port[1].lstrip("0") == str(_DEFAULT_PORTS["https"])
        text = f"{'https' if is_secure else 'http'}://{text}"
    elif not _SCHEME.match(text) and not _ROW_OF_FILE.match(text):
        text = f"http://{text}"
    return urlsplit(text)


def _punycode(label: str) -> str:
    """A label that no registry gives out, such as one with an underscore."""
    return label if label.isascii() else f"xn--{label.encode('punycode', 'replace').decode()}"


def _escaped(text: str, plain: frozenset[int]) -> str:
    """`text` with escapes in capitals, for exactly the characters that need one, those of UTF-8 composed (NFC)."""
    decoded = _ESCAPE.sub(lambda escape: _plainer(escape, plain), text)
    escaped = "".join(
        each if each in _ALLOWED else "".join(f"%{byte:02X}" for byte in each.encode(errors="surrogatepass"))
        for each in decoded
    )
    return _BEYOND_ASCII.sub(_composed, escaped)


def _plainer(escape: re.Match[str], plain: frozenset[int]) -> str:
    byte = int(escape[1], 16)
    return chr(byte) if byte in plain else escape[0].upper()


def _composed(escapes: re.Match[str]) -> str:
    try:
        text = unquote_to_bytes(escapes[0]).decode()
    except UnicodeDecodeError:
        return escapes[0]
    return quote(unicodedata.normalize("NFC", text), safe="")


def _without_dot_segments(path: str) -> str:
    """RFC 3986, 5.2.4, except that a slash at the end is dropped."""
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    return "/".join(["", *segments])
