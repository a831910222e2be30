"""One spelling for the URLs of one page (RFC 3986, 6.2.2 and 6.2.3), so that they can be compared."""

import ipaddress
import re
import string
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

import idna

READING_VERSION = 2
"""Raised if URLs are compared in another way: part of the key of stages that compare them with a list."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"[^/?#:]+\.[^/?#:]+:\d*(?:[/?#]|$)")
_UNRESERVED = frozenset((string.ascii_letters + string.digits + "-._~").encode())
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_ALLOWED = frozenset(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/?%[]")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}


def page_key(url: str) -> str:
    """The same text for every spelling of the URL of one page; the URL unchanged if it has no host.

    Two URLs name the same page if they differ only in case, escapes, default port, dot segments, spelling of
    internationalised names, the dot behind the host, the slash behind the path, user, fragment, or http and https,
    which may be left out. Queries are compared unchanged.
    """
    try:
        parts = _split(url)
        host, port = host_key(parts.hostname or ""), parts.port
    except ValueError:
        return url
    if not host:
        return url
    scheme = parts.scheme.lower()
    behind = "" if port is None or port == _DEFAULT_PORTS.get(scheme) else f":{port}"
    if scheme in ("http", "https"):
        scheme = "web"
    path = _without_dot_segments(_escaped(parts.path.replace("\\", "/"))).removesuffix("/")
    query = f"?{_escaped(parts.query)}" if parts.query else ""
    return f"{scheme}://{host}{behind}{path}{query}"


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
    try:
        return ipaddress.ip_address(name.strip("[]")).compressed
    except ValueError:
        pass
    if name.isascii():
        return name
    try:
        return idna.encode(name, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return ".".join(map(_punycode, name.split(".")))


def _split(url: str) -> SplitResult:
    """The parts of a URL; one without a scheme, as people write addresses, is of the web."""
    text = url.strip()
    if text.startswith("//"):
        text = f"http:{text}"
    elif not _SCHEME.match(text) or _HOST_AND_PORT.match(text):
        text = f"http://{text}"
    return urlsplit(text)


def _punycode(label: str) -> str:
    """A label that no registry gives out, such as one with an underscore."""
    return label if label.isascii() else f"xn--{label.encode('punycode', 'replace').decode()}"


def _escaped(text: str) -> str:
    """`text` with escapes in capitals, and with escapes for exactly the characters that need one."""
    decoded = _ESCAPE.sub(_plainer, text)
    return "".join(
        each if each in _ALLOWED else "".join(f"%{byte:02X}" for byte in each.encode(errors="surrogatepass"))
        for each in decoded
    )


def _plainer(escape: re.Match[str]) -> str:
    byte = int(escape[1], 16)
    return chr(byte) if byte in _UNRESERVED else escape[0].upper()


def _without_dot_segments(path: str) -> str:
    """RFC 3986, 5.2.4, except that a slash at the end is dropped."""
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    return "/".join(["", *segments])
