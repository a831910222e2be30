"""Which rules of boilerplate apply to a type of page."""

from collections.abc import Mapping
from typing import NamedTuple


class Rules(NamedTuple):
    """Rules for one type of page."""

    suspects: bool
    """Whether blocks of a suspect name go (if short or full of links)."""
    link_lists: bool
    """Whether blocks go that consist of links."""
    min_entries_share: float
    """Share of the main part from which blocks of one kind are the page's entries, together; 1 if a page has none."""
    entries_of_any_name: bool = False
    """Whether they are even if their name is boilerplate's own."""
    starts_at_title: bool = False
    """Whether text above the title is a menu."""
    repeats: bool = True
    """Whether a line may be there twice: a post stands again where it is quoted, a description once for each width of
    screen."""
    states_more: bool = False
    """Whether a description in JSON-LD that the text lacks belongs to the page."""


_PROSE = Rules(suspects=True, link_lists=True, min_entries_share=1)

RULES: Mapping[str, Rules] = {
    "article": _PROSE,
    "forum": _PROSE._replace(min_entries_share=0.3, repeats=False),
    "product": _PROSE._replace(starts_at_title=True, repeats=False, states_more=True),
    "documentation": Rules(suspects=False, link_lists=True, min_entries_share=0.1),
    "collection": Rules(suspects=False, link_lists=True, min_entries_share=0.1, starts_at_title=True),
    "listing": Rules(
        suspects=True, link_lists=True, min_entries_share=0.05, entries_of_any_name=True, starts_at_title=True
    ),
    "service": Rules(suspects=False, link_lists=False, min_entries_share=0.1, entries_of_any_name=True),
}
"""By the types of page_type.PAGE_TYPES. Articles, posts and descriptions of a product are prose, which links and panels
interrupt, and some posts are as short as these; the others consist of cards, panels and links. Articles may begin above
their title: with a summary."""
