"""A second choice for a page of which the first left little: the guard against layouts that no rule foresaw."""

from collections.abc import Iterator

from pipelines.artifacts.documents import SECOND_CHOICE
from pipelines.source.web.extraction.dom import inked, length, remove_all
from pipelines.source.web.extraction.formats import Format
from pipelines.source.web.extraction.layout.boilerplate import remove_surroundings
from pipelines.source.web.extraction.visible import visible_page

MIN_KEPT_SHARE = 0.07
"""Share of a page's prose that its text holds; a text with less has lost the purpose of the page."""


def is_little(text: str, of_characters: int) -> bool:
    """Whether `text` holds less than MIN_KEPT_SHARE of that many characters."""
    return inked(text) < MIN_KEPT_SHARE * of_characters


def choose_again(html: str, text: str, form: Format) -> tuple[str, str] | None:
    """Another text of a page, and its engine, if `text` holds too little of the page's prose; None if it does not.

    Prose is text outside of links, navigation, footers and controls. resiliparse's main content is taken if it holds
    enough of it, and else all text of the page outside of navigation, footers and controls.
    """
    prose = _prose(html)
    if not is_little(text, prose):
        return None
    for engine, candidate in _candidates(html, form):
        if not is_little(candidate, prose):
            return candidate, SECOND_CHOICE + engine
    return None


def _prose(html: str) -> int:
    body = visible_page(html).tree.body
    if body is None:
        return 0
    remove_surroundings(body)
    remove_all(body, "a")
    return length(body)


def _candidates(html: str, form: Format) -> Iterator[tuple[str, str]]:
    tree, _ = visible_page(html)
    yield "main content", form.main_content(tree)
    if tree.body is not None:
        remove_surroundings(tree.body)
    yield "all text", form.all_text(tree)
