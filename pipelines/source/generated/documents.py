"""The shape of every generated input: numbered items in shards, and documents that are named by their content."""

import hashlib
from collections.abc import Iterator

from pipelines.artifacts.documents import Document

LICENCE = "CC0-1.0"


def number_ranges(count: int, size: int) -> Iterator[tuple[int, int]]:
    """The numbers below `count` in shards of `size`: the first number of each, and the one behind its last.

    >>> list(number_ranges(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    for first in range(0, count, size):
        yield first, min(first + size, count)


def content_name(text: str) -> str:
    """16 hex digits of the text's digest."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def generated_document(
    text: str,
    path: str,
    *,
    origin: str,
    split: str,
    named_by: str | None = None,
    licence: str = LICENCE,
    attributes: str | None = None,
) -> Document:
    """A document of a generator.

    Args:
        text: Its text.
        path: The kind and seed, "ledgers/1", for its URL.
        origin: See DOCUMENTS.
        split: See DOCUMENTS.
        named_by: Text whose digest ends the URL. None: that of the document.
        licence: Of its content.
        attributes: See DOCUMENTS.
    """
    return Document(
        text=text,
        url=f"generated:{path}/{content_name(text if named_by is None else named_by)}",
        origin=origin,
        split=split,
        licence=licence,
        extractor="generator",
        attributes=attributes,
    )
