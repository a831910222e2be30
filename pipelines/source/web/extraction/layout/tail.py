"""The end of a page's main part, below its last text: buttons, titles of lists that are gone, credits."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from unicodedata import category

from pipelines.source.web.extraction.code import code_in
from pipelines.source.web.extraction.markup import PHRASES, Markup, Outermost, attribute
from pipelines.source.web.extraction.rendering.tables import tables_of_data, tables_with_head

SHORT_BLOCK = 60
"""Characters of a block without a sentence's end below which it is a button or the title of a list."""
MAX_TAIL_BLOCKS = 6
"""More short blocks than these are text: verse, or a script without punctuation. Of 1,001 pages few have a longer
tail."""

_TEXTS = frozenset({"p", "li", "dd", "dt", "blockquote", "pre", "math"})
"""Elements that hold text, however short it is and whichever mark ends it."""
_TABLE_ROLES = ("table", "grid", "treegrid")
_INLINE = PHRASES | {
    f"{slash}{tag}" for slash in ("", "/") for tag in ("br", "code", "kbd", "samp", "sub", "sup", "tt")
}
_COPYRIGHT = re.compile(r"©|\(c\)|copyright\b", re.IGNORECASE)
_REFERENCE = re.compile(r"\[\d+\]$")
_BESIDE_SENTENCES = ("Cf", "Mn", "Sk", "Sm", "So", "Zs")
"""Categories of characters that may follow a sentence's end: marks of direction, arrows, emoji, ends of proofs."""
_REFERENCE_MARKS = "*†‡§¶·•"
_ENDS = ("Pe", "Pf", "Pi", "Po")
"""Categories of the marks that end sentences, and of the quotation marks and brackets behind them."""
_NO_ENDS = ",/\\#%&@]"


def remove_tail(page: Markup) -> None:
    """Remove the last blocks of a page that are no text, unless it has no other or they are many."""
    parts = _Parts(page)
    tail: list[int] = []
    for number, block in enumerate(_blocks_from_the_end(page)):
        if parts.is_text(block):
            for piece in tail:
                page.texts[piece] = ""
            return
        if number == MAX_TAIL_BLOCKS:
            return
        tail += block


class _Parts:
    """The elements of a page that decide about its last blocks; only few pages end with a block that needs them."""

    def __init__(self, page: Markup) -> None:
        self._page = page

    def is_text(self, block: Sequence[int]) -> bool:
        """Whether a block is a sentence, or long, or in an element of text."""
        text = self._text(block)
        if len(text) >= SHORT_BLOCK or ends_sentence(text):
            return True
        if block[0] in self._whole and not _COPYRIGHT.match(text):
            return True
        return ends_sentence(self._text([piece for piece in block if piece not in self._footnotes]))

    @cached_property
    def _whole(self) -> Outermost:
        page = self._page
        tables = {*tables_of_data(page), *tables_with_head(page).starts}
        return Outermost(page, sorted({*page.elements(_TEXTS), *code_in(page), *tables, *_tables_by_role(page)}))

    @cached_property
    def _footnotes(self) -> Outermost:
        return Outermost(self._page, self._page.elements(["sup"]))

    def _text(self, block: Sequence[int]) -> str:
        return " ".join("".join(self._page.texts[piece] for piece in block).split())


def _tables_by_role(page: Markup) -> Iterator[int]:
    roles = {each for each in page.names if attribute(each, "role") in _TABLE_ROLES}
    return (index for index, each in enumerate(page.attributes) if each in roles)


def ends_sentence(text: str) -> bool:
    """Whether a text ends with a sentence or a formula, in any script, or with a reference behind it."""
    if _REFERENCE.search(text):
        return True
    last = next((each for each in reversed(text) if not _may_follow_sentence(each)), "")
    return last == "$" or (last not in _NO_ENDS and category(last) in _ENDS)


def _may_follow_sentence(character: str) -> bool:
    return character in _REFERENCE_MARKS or category(character) in _BESIDE_SENTENCES


def _blocks_from_the_end(page: Markup) -> Iterator[Sequence[int]]:
    """The places of the texts in each block that is not blank, the last block first."""
    block: list[int] = []
    for index in range(len(page.tags) - 1, -1, -1):
        if page.texts[index]:
            block.append(index)
        tag = page.tags[index]
        if block and tag and tag not in _INLINE:
            if any(page.characters[piece] for piece in block):
                yield block[::-1]
            block = []
