"""Marks of the two styles that a page is written in. The words, their order and the lines of tables are the same."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pipelines.source.web.extraction.rendering import listings


class Style(NamedTuple):
    """How the structure of a page is marked."""

    headings: Mapping[str, str]
    """The mark before a heading, by its tag."""
    bullet: str
    number: str
    """Format of the mark of a numbered item."""
    indent: int | None
    """Blanks before the further lines of an item; None for those of its mark's length."""
    quotation: str
    definition: tuple[str, str]
    """The mark before a definition, and the indentation of its further lines."""
    has_inline_marks: bool
    """Whether code in a sentence, and letters above and below the line, are marked."""
    separates_every_block: bool
    """Whether an empty line is between any two blocks, or only beside paragraphs, headings and their like."""
    listing: Callable[[list[str], str], list[str]]
    """The lines to write for those of a listing in a language."""
    indents_listings: bool
    """Whether listings inside an item are indented as its other lines are."""
    table: Callable[[Sequence[Sequence[str]]], list[str]]
    """The lines of a table of at least two columns; all rows have the same number of cells."""


def _markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """In GitHub's Markdown, the first row as the head."""
    head, *body = (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return [head, f"|{' --- |' * len(rows[0])}", *body]


def _plain_table(rows: Sequence[Sequence[str]]) -> list[str]:
    return ["\t".join(row) for row in rows]


def _plain_listing(lines: list[str], _language: str) -> list[str]:
    return lines


MARKDOWN = Style(
    headings={f"h{level}": "#" * level + " " for level in range(1, 7)},
    bullet="- ",
    number="{}. ",
    indent=None,
    quotation="> ",
    definition=(": ", "  "),
    has_inline_marks=True,
    separates_every_block=True,
    listing=listings.fenced,
    indents_listings=True,
    table=_markdown_table,
)
PLAIN = Style(
    headings={},
    bullet="  • ",
    number="  {}. ",
    indent=2,
    quotation="",
    definition=("", ""),
    has_inline_marks=False,
    separates_every_block=False,
    listing=_plain_listing,
    indents_listings=False,
    table=_plain_table,
)
