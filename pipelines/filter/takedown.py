"""Documents that have to go: by id, URL or domain, from files that the recipe names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from data_recipes.refining import FilterSection
from data_recipes.section import RecipeError
from infra.store import file_digest

_DOC_ID = re.compile(r"[0-9a-f]{32}")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{1,62}", re.IGNORECASE)


@dataclass(frozen=True)
class Takedown:
    """What has to go: documents, pages (every document of a URL), domains with their subdomains."""

    doc_ids: frozenset[str]
    urls: frozenset[str]
    domains: frozenset[str]

    @classmethod
    def of(cls, lines: Iterable[str], place: str = "takedown") -> "Takedown":
        """One entry a line: 32 hex digits, a URL with its scheme, or a domain; empty lines and lines from `#` on are
        passed over. Raises ValueError, naming the line, where it is none of the three."""
        found: dict[str, set[str]] = {"doc_ids": set(), "urls": set(), "domains": set()}
        for number, line in enumerate(lines, start=1):
            entry = line.strip()
            if entry and not entry.startswith("#"):
                found[_kind(entry, f"{place}:{number}")].add(entry if "://" in entry else entry.lower())
        return cls(**{kind: frozenset(entries) for kind, entries in found.items()})

    def has(self, doc_ids: Sequence[str], urls: Sequence[str]) -> np.ndarray:
        """bool: whether each document, by its id and URL, has to go."""
        if not (self.doc_ids or self.urls or self.domains):
            return np.zeros(len(doc_ids), bool)
        gone = (doc_id in self.doc_ids or self._has_url(url) for doc_id, url in zip(doc_ids, urls, strict=True))
        return np.fromiter(gone, bool, len(doc_ids))

    def _has_url(self, url: str) -> bool:
        if url in self.urls:
            return True
        labels = _host(url).split(".")
        return any(".".join(labels[start:]) in self.domains for start in range(len(labels)))


def pin(section: FilterSection, folder: Path) -> dict[str, Any]:
    """Digests of the files that `section` of a recipe in `folder` names. Raises RecipeError where one is missing or
    has a line that names nothing."""
    digests = []
    for number, path in enumerate(section.takedown, start=1):
        place = f"{folder}: filter.takedown[{number}] = {path!r}"
        if not (folder / path).is_file():
            raise RecipeError(f"{place}: no such file ({folder / path}). Name one that is there.")
        try:
            Takedown.of(_lines(folder / path), str(folder / path))
        except ValueError as error:
            raise RecipeError(f"{place}: {error}") from None
        digests.append(file_digest(folder / path))
    return {"takedown": digests}


def load_takedown(section: FilterSection, pins: Mapping[str, Any], folder: Path) -> Takedown:
    """What the files of `section` list. Raises RuntimeError where one is not the one that was pinned."""
    lines: list[str] = []
    for path, digest in zip(section.takedown, pins["takedown"], strict=True):
        if file_digest(folder / path) != digest:
            raise RuntimeError(f"{folder / path}: changed since the run was planned. Start the run again.")
        lines += _lines(folder / path)
    return Takedown.of(lines)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8. Save it as UTF-8.") from None


def _kind(entry: str, place: str) -> str:
    if _DOC_ID.fullmatch(entry.lower()):
        return "doc_ids"
    if "://" in entry and _host(entry):
        return "urls"
    if _DOMAIN.fullmatch(entry):
        return "domains"
    raise ValueError(
        f"{place}: {entry!r} is no doc id (32 hex digits), URL (https://...) or domain (example.org). Mend the line."
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
