"""The user's own lists: domains and URLs, words and phrases."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.artifacts.formats.urls import page_key
from pipelines.score.text.characters import Characters, Words

_HOST = re.compile(r"^(?:www\.)?([^/?:\[]*|\[[^\]]*\])(?::\d+)?(?=[/?]|$)")


@dataclass(frozen=True)
class UrlList:
    """Hosts, and prefixes of URLs without their scheme."""

    hosts: frozenset[str]
    prefixes: frozenset[str]

    @classmethod
    def of(cls, listed: Iterable[str]) -> "UrlList":
        """`listed`: `example.org` (with its subdomains), or `example.org/path` with or without a scheme, which holds
        for everything below that path."""
        plain = [_plain(entry) for entry in listed]
        return cls(
            frozenset(entry for entry in plain if "/" not in entry), frozenset(entry for entry in plain if "/" in entry)
        )

    def has(self, url: str) -> bool:
        """Whether the host of `url`, a domain above it, or a path that leads to it is listed."""
        if not (self.hosts or self.prefixes):
            return False
        plain = _plain(url)
        host, _, rest = plain.partition("/")
        labels = host.split(".")
        if any(".".join(labels[start:]) in self.hosts for start in range(len(labels))):
            return True
        steps = rest.partition("?")[0].split("/")
        paths = (f"{host}/{'/'.join(steps[:end])}" for end in range(1, len(steps) + 1))
        return plain in self.prefixes or any(path in self.prefixes for path in paths)


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


def _plain(url: str) -> str:
    """Host, path and query of one spelling in lower case, without the port."""
    _, _, plain = page_key(url).partition("://")
    return _HOST.sub(r"\1", plain.lower() or url.lower(), count=1)
