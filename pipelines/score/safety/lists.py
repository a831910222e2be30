"""The user's own lists: domains and URLs, words and phrases."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.artifacts.formats.urls import PageAddress, ip_key, page_address
from pipelines.score.text.characters import Characters, Words

_DOMAIN = re.compile(r"(?:[a-z\d_-]+\.)+[a-z][a-z\d-]+", re.IGNORECASE | re.ASCII)
_ENTRY = re.compile(
    r"(?:\*:)?(?P<scheme>(?:[a-z][a-z\d+.-]*:)?//)?(?:\*?\.)?(?P<address>[^\s*]+?)(?:/\*)?", re.IGNORECASE | re.ASCII
)
"""An entry, and the wildcards that change nothing about it: `*://`, `*.` or a dot before it, `/*` behind it."""
_HOST = re.compile(r"[a-z\d._:%-]+", re.ASCII)
_WWW = re.compile(r"www\.(?=[^.]+\.)")


@dataclass(frozen=True)
class UrlList:
    """Hosts, and beginnings of URLs without scheme and port."""

    hosts: frozenset[str]
    prefixes: frozenset[str]

    @classmethod
    def of(cls, listed: Iterable[str]) -> "UrlList":
        """`listed`: `example.org` or `*.example.org` (each with its subdomains), or `example.org/path`, with `/*`
        behind it or not, which holds for everything below that path. Raises ValueError, naming the entry, if it is
        neither."""
        addresses = [_listed(entry) for entry in listed]
        return cls(
            frozenset(host for host, below in addresses if not below),
            frozenset(f"{host}{below}" for host, below in addresses if below),
        )

    def has(self, url: str) -> bool:
        """Whether the host of `url`, a domain above it, or a path that leads to it is listed."""
        if not (self.hosts or self.prefixes) or not (address := page_address(url)):
            return False
        host, below = _plain(address)
        labels = host.split(".")
        if any(".".join(labels[start:]) in self.hosts for start in range(len(labels))):
            return True
        steps = address.path.lower().split("/")
        paths = (f"{host}{'/'.join(steps[:end])}" for end in range(2, len(steps) + 1))
        return f"{host}{below}" in self.prefixes or any(path in self.prefixes for path in paths)


@dataclass(frozen=True)
class WordList:
    """Words and phrases as the hashes of their folded words."""

    words: np.ndarray
    phrases: Sequence[np.ndarray]

    @classmethod
    def of(cls, listed: Iterable[str]) -> "WordList":
        hashes = {entry: Characters(entry).words.hashes for entry in sorted(set(listed))}
        words = np.unique(np.array([hashed[0] for hashed in hashes.values() if len(hashed) == 1], np.uint64))
        return cls(words, [hashed for hashed in hashes.values() if len(hashed) > 1])

    def count(self, words: Words) -> int:
        """Number of listed words and phrases in a text."""
        hashes = words.hashes
        total = int(_members(hashes, self.words).sum())
        for phrase in self.phrases:
            starts = np.flatnonzero(hashes[: max(0, len(hashes) - len(phrase) + 1)] == phrase[0])
            for offset, word in enumerate(phrase[1:], start=1):
                starts = starts[hashes[starts + offset] == word]
            total += len(starts)
        return total


def _members(values: np.ndarray, listed: np.ndarray) -> np.ndarray:
    if not len(listed):
        return np.zeros(len(values), bool)
    positions = np.minimum(np.searchsorted(listed, values), len(listed) - 1)
    is_listed: np.ndarray = listed[positions] == values
    return is_listed


def _listed(entry: str) -> tuple[str, str]:
    """As `_plain`, of an entry of a list."""
    if ip := ip_key(entry):
        return ip, ""
    if _DOMAIN.fullmatch(entry):
        return _WWW.sub("", entry.lower(), count=1), ""
    match = _ENTRY.fullmatch(entry)
    address = page_address(f"{match['scheme'] or ''}{match['address']}") if match else None
    if not address or not _HOST.fullmatch(address.host):
        raise ValueError(
            f"{entry!r} is no domain (example.org or *.example.org) and no beginning of a URL (example.org/path or "
            "example.org/path/*). Mend the line; write %20 for a blank and %2A for a star within."
        )
    return _plain(address)


def _plain(address: PageAddress) -> tuple[str, str]:
    """The host without "www.", and path and query, in lower case."""
    query = f"?{address.query}" if address.query else ""
    return _WWW.sub("", address.host, count=1), f"{address.path}{query}".lower()
