"""Queries of the text extraction modules on the parsed page."""

from collections.abc import Iterable, Iterator
from typing import cast

from resiliparse.parse.html import ElementNode, ElementNodeList, HTMLTree, Node

_COMMON_TAGS = "div,a,span,li,p"
"""Tags of two in three elements of a page."""


def of_rare_tags(selectors: str) -> str:
    """A faster selector for the elements of `selectors`, none of them for a common tag: the parser rules most elements
    out by a few tests instead of trying each selector on them."""
    return f":not({_COMMON_TAGS}):is({selectors})"


def length(element: ElementNode) -> int:
    """Characters of an element's text that are not blank, without scripts and style sheets."""
    return inked(element.inner_text or "")


def inked(text: str) -> int:
    """Characters of `text` that are not blank."""
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t")


def one_by_one(elements: ElementNodeList, places: Iterable[int] | None = None) -> Iterator[ElementNode]:
    """The elements of a list that is rarely read to its end, or only those at `places`: Python's object for one costs
    several microseconds, and iterating over the list itself makes those of all elements again at each step."""
    for place in range(len(elements)) if places is None else places:
        if (element := elements.item(place)) is not None:
            yield element


def remove_all(element: ElementNode, selector: str) -> None:
    """Remove the elements that `selector` matches below `element`."""
    for match in element.query_selector_all(selector).values():
        match.remove()


def open_figures(element: ElementNode) -> bool:
    """Unwrap the tables and listings below `element` that are in figures, which resiliparse does not print; returns
    whether there are any."""
    figures = element.query_selector_all("figure:has(table,pre)").values()
    for figure in figures:
        figure.replace_with(*figure.children.values())
    return len(figures) > 0


def new_text(tree: HTMLTree, text: str) -> Node:
    """A text node that belongs to `tree` and is not yet inserted."""
    return cast(Node, tree.create_text_node(text))


def new_element(tree: HTMLTree, tag: str) -> ElementNode:
    """An element without content that belongs to `tree` and is not yet inserted."""
    return cast(ElementNode, tree.create_element(tag))
