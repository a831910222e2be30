"""Documents that have to go: by id, URL or domain, from files that the recipe names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.artifacts.formats.line_lists import list_lines
from pipelines.artifacts.formats.urls import host_key, host_of, ip_key, page_key

_DOC_ID = re.compile(r"[0-9a-f]{32}")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{1,62}", re.IGNORECASE)
_WITH_SCHEME = re.compile(r"\w+://|https?:", re.IGNORECASE)
_WITH_PORT = re.compile(
    rf"(?:{_DOMAIN.pattern}\.?|(?:\d{{1,3}}\.){{3}}\d{{1,3}}|\[[\da-f:.]+\]):\d{{1,5}}/", re.IGNORECASE
)
_QUOTES = "\"'`“”„‘’«»"
_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)


@dataclass(frozen=True)
class Takedown:
    """Entries to take down: documents, pages (every document of a URL, however it is spelled), domains with their
    subdomains. `entries`: the original spelling of each, by its normalized form."""

    doc_ids: frozenset[str]
    urls: frozenset[str]
    domains: frozenset[str]
    entries: Mapping[str, str]

    @classmethod
    def of(cls, lines: Iterable[str], file_name: str = "takedown") -> "Takedown":
        """One entry a line: 32 hex digits, a URL with its scheme or port, a domain (also as `*.example.org`) or an IP
        address, in quotes or not. Empty lines and what follows a `#` at the start or behind a blank are passed over.
        Raises ValueError, naming the line, if it is none of them."""
        keys_by_kind: dict[str, set[str]] = {"doc_ids": set(), "urls": set(), "domains": set()}
        entries: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            entry = _unquoted(_COMMENT.sub("", line).strip())
            if entry:
                kind, key = _read(entry, f"{file_name}:{number}")
                keys_by_kind[kind].add(key)
                entries.setdefault(key, entry)
        return cls(**{kind: frozenset(keys) for kind, keys in keys_by_kind.items()}, entries=entries)

    def has(self, doc_ids: Sequence[str], urls: Sequence[str]) -> np.ndarray:
        """bool: whether each document, by its id and URL, has to go."""
        if not self.entries:
            return np.zeros(len(doc_ids), bool)
        gone = (bool(self.naming(doc_id, url)) for doc_id, url in zip(doc_ids, urls, strict=True))
        return np.fromiter(gone, bool, len(doc_ids))

    def naming(self, doc_id: str, url: str) -> set[str]:
        """Keys of the entries that name a document."""
        named = {doc_id} & self.doc_ids
        if self.urls:
            named |= {page_key(url)} & self.urls
        if self.domains:
            labels = host_of(url).split(".")
            named |= {".".join(labels[start:]) for start in range(len(labels))} & self.domains
        return named


def idle_entries(takedown: Takedown, named: Iterable[str]) -> list[str]:
    """Entries of `takedown`, as they were written, that are not among the keys of those that named a document."""
    used = set(named)
    return sorted(entry for key, entry in takedown.entries.items() if key not in used)


def read_lines(path: Path) -> list[str]:
    """The entries of a list, a line each, as they were written."""
    return list_lines(path.read_bytes())


def _unquoted(entry: str) -> str:
    """An entry without the quotes around it, and the comma of a list behind them."""
    return entry.rstrip(",").strip(_QUOTES) if entry and entry[0] in _QUOTES else entry


def _read(entry: str, line: str) -> tuple[str, str]:
    """Kind of an entry, and its normalized form."""
    if _DOC_ID.fullmatch(entry.lower()):
        return "doc_ids", entry.lower()
    if _WITH_SCHEME.match(entry) and host_of(entry):
        return "urls", page_key(entry)
    domain = entry.removeprefix("*").removeprefix(".")
    if _WITH_PORT.match(entry) and host_of(entry):
        return "urls", page_key(entry)
    if address := ip_key(entry):
        return "domains", address
    if _DOMAIN.fullmatch(domain.removesuffix(".")):
        return "domains", host_key(domain)
    raise ValueError(
        f"{line}: {entry!r} is no doc id (32 hex digits), URL (https://...), domain (example.org) or IP "
        "address. Mend the line."
    )
