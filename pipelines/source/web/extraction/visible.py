"""The tree of a page as a browser shows it, as far as its HTML determines that without style sheets.

Invisible is an element with the attribute `hidden` or `popover`, a dialog that is not open, and an element whose inline
style does not display it, hides it, gives it no size or color, cuts it away or moves it off the screen. The panels of
tabs and accordions are visible, as a click shows them, and what React's server sends late is where it belongs. An
element that a page hides from screen readers (`aria-hidden`) is visible; it is removed if the text next to it is the
same. The headings of an accordion are buttons, which text extraction takes for controls: they are opened. Readings
above characters (furigana) are removed, as they would be in the middle of their words.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, Self

from resiliparse.parse.html import ElementNode, HTMLTree, TextNode

from pipelines.source.web.extraction.code import (
    EDITORS,
    FIRST_LINE,
    LITERAL_TAGS,
    may_be_editor,
    write_editors,
    write_listings,
    write_literal,
    write_numbered,
)
from pipelines.source.web.extraction.css.hiding import is_block, is_hiding, keeps_lines, visible_again
from pipelines.source.web.extraction.dom import length, new_element, new_text, of_rare_tags
from pipelines.source.web.extraction.formulas import IMAGES_OF_FORMULAS, write_formulas
from pipelines.source.web.extraction.markup import PHRASES
from pipelines.source.web.extraction.revealed import is_panel, is_streamed, put_in_place

MIN_VISIBLE_SHARE = 0.1
"""Share of a page's text that is visible below which a script reveals the page, and nothing hidden is taken out."""
MAX_JOINED_CHARACTERS = 2000
"""Characters of a text from which the text after a `ruby` is not joined to it, which would take quadratic time."""
MIN_WRAPPED_SHARE = 0.5
"""Share of a page's text from which the content of a `noscript` or a figure is the page itself."""
MAX_TEXT_READS = 100
"""Times that the text of a page is read to detect repetition."""
MAX_BLANKS = 100
"""Characters after a start tag within which an end tag shows that an element is empty."""

_UNPRINTED = ("template", "rt", "rp", "rtc", "canvas", "noframes", "noembed")
_PREFORMATTED = ("div", "p", "code", "samp", "td", "blockquote")
_HEADED = ":is(h1,h2,h3,h4,h5,h6,summary,dt,th,legend,caption,[role=heading])"
_TITLES = "h1,h2,h3,h4,h5,h6"
_NO_CONTROLS = (
    f":is(button,label):is({_HEADED} *,button:has({_TITLES}),label:has({_TITLES},p,pre,table,ul),"
    "button:is([class*=accordion i],[class*=collapsible i]))"
)
"""Buttons and labels that are headings, or contain elements that are not controls."""
_PREFIXED_MATH = r"mml\:math"
_FORMULAS = f"script[type^='math/'],math,{_PREFIXED_MATH},mjx-container,{IMAGES_OF_FORMULAS}"
_WRAPPERS = "figure:has(p),figcaption:has(p),noscript:has(p,li,h1,h2),button:has(p)"
"""Elements that may contain most of a page."""
_TAGS = f"{','.join(_UNPRINTED)},ruby,{_WRAPPERS},iframe,pre,{','.join(LITERAL_TAGS)},dialog,{_NO_CONTROLS},{_FORMULAS}"
_CELL_ROLES = ("cell", "gridcell", "columnheader", "rowheader")
_CELLS = ",".join(f"[role={role}]" for role in _CELL_ROLES)
_ATTRIBUTES = f"[style],[hidden],[popover],[aria-hidden=true]:not(:empty),{_CELLS}"
SPECIAL = f"{of_rare_tags(_TAGS)},{EDITORS},{FIRST_LINE},{_ATTRIBUTES}"
"""Markup that is not printed literally, in one search of the page."""
_IFRAME = re.compile(r"<iframe\b", re.IGNORECASE)
_PREFIX_OF_MATH = re.compile(r"(?<=</)mml:|(?<=<)mml:", re.IGNORECASE)
_SHADOW = re.compile(r"<template\b[^>]{0,500}?\bshadowrootmode\b", re.IGNORECASE)
"""Start of a tree that a browser shows in place of its element's own content (HTML standard, "declarative shadow
roots")."""
_END_OF_TEMPLATE = re.compile("</template", re.IGNORECASE)


class VisiblePage(NamedTuple):
    """The tree of a page without its invisible elements, its formulas and listings made plain."""

    tree: HTMLTree
    characters: int
    """Characters of its body that are not blank."""


def visible_page(html: str) -> VisiblePage:
    """A page as a browser shows it."""
    tree = HTMLTree.parse(html)
    body = tree.body
    if body is not None and body.tag is None:  # a page of frames
        tree = HTMLTree.parse(_without_frames(tree))
        body = tree.body
    if body is None or body.tag is None:
        return VisiblePage(tree, 0)
    special = _Special.below(body)
    if special.swallows_page:
        # To a browser that runs scripts `noscript` is text that ends with its end tag; to the parser an `iframe` in it
        # that is not closed goes on to the end of the page.
        plainer = _without_open_iframes(html)
    else:
        plainer = _without_shadows(html) if special.has_shadows else html
        plainer = _PREFIX_OF_MATH.sub("", plainer) if special.has_prefixed_math else plainer
    if plainer != html:
        return visible_page(plainer)
    if special.has_formulas:
        write_formulas(tree, body)
    for element in special.streamed:
        put_in_place(body, element)
    for element in special.unprinted:
        element.remove()
    characters = length(body)
    characters -= _remove_hidden(special.maybe_hidden, characters)
    if _remove_repeated(special.not_for_screen_readers, characters):
        characters = length(body)
    if special.has_editors:
        write_editors(tree, body)
    for box in special.boxes:
        _set_apart(tree, box)
    write_literal(tree, special.literal)
    write_numbered(tree, special.first_lines)
    if special.listings or special.has_editors:
        write_listings(tree, body, special.listings)
    for wrapper in special.wrappers:
        wrapper.replace_with(*wrapper.child_nodes.values())
    for ruby in special.rubies:
        _join(tree, ruby)
    _open_most_of_the_page(body, special.figures, characters)
    characters += _open_most_of_the_page(body, special.noscripts, characters)
    return VisiblePage(tree, characters)


def _without_frames(tree: HTMLTree) -> str:
    """The page that a browser without frames shows."""
    instead = tree.document.query_selector("noframes") if tree.document is not None else None
    return (instead.text or "") if instead is not None else ""


def _without_shadows(html: str) -> str:
    """A page whose shadow trees are blocks."""
    tags, end = [], 0
    for opening in _SHADOW.finditer(html):
        tags.append((opening.start(), "<template"))
        if closing := _END_OF_TEMPLATE.search(html, max(end, opening.end())):
            tags.append((closing.start(), "</template"))
        end = closing.end() if closing else len(html)
    plainer, done = [], 0
    for start, tag in sorted(tags):
        plainer += [html[done:start], tag.replace("template", "div")]
        done = start + len(tag)
    return "".join((*plainer, html[done:]))


def _without_open_iframes(html: str) -> str:
    """A page without the start tags of frames that hold something."""
    before, *frames = _IFRAME.split(html)
    pieces = [before]
    for frame in frames:
        _, _, inside = frame.partition(">")
        is_empty = inside[:MAX_BLANKS].lstrip().lower().startswith("</iframe")
        pieces.append(f"<iframe{frame}" if is_empty else inside)
    return "".join(pieces)


class _Special:
    """Elements of a page that are not printed literally, sorted by reason: one search of the page for all of them."""

    def __init__(self) -> None:
        self.unprinted: list[ElementNode] = []
        self.maybe_hidden: list[ElementNode] = []
        self.not_for_screen_readers: list[ElementNode] = []
        self.wrappers: list[ElementNode] = []
        self.rubies: list[ElementNode] = []
        self.figures: list[ElementNode] = []
        self.noscripts: list[ElementNode] = []
        self.listings: list[ElementNode] = []
        self.first_lines: list[ElementNode] = []
        self.literal: list[ElementNode] = []
        self.streamed: list[ElementNode] = []
        self.boxes: list[ElementNode] = []
        self.has_formulas = self.has_prefixed_math = self.has_editors = False
        self.swallows_page = self.has_shadows = False

    @classmethod
    def below(cls, body: ElementNode) -> Self:
        special = cls()
        for element in body.query_selector_all(SPECIAL).values():
            special._sort(element)
        return special

    def _sort(self, element: ElementNode) -> None:
        tag = element.tag or ""
        if tag == "iframe":
            self.swallows_page |= "</noscript" in (element.text or "").lower()
        elif tag == "script":
            self.has_formulas = True
        elif tag == "mml:math":
            self.has_prefixed_math = True
        elif tag in _UNPRINTED:
            self.has_shadows |= tag == "template" and element.has_attribute("shadowrootmode")
            self.unprinted.append(element)
        else:
            self._sort_by_tag(element, tag)
            self._sort_by_attributes(element, tag)

    def _sort_by_tag(self, element: ElementNode, tag: str) -> None:
        if tag == "li" and element.matches(FIRST_LINE):
            self.first_lines.append(element)
        elif tag == "pre":
            self.listings.append(element)
        elif tag == "noscript":
            self.noscripts.append(element)
        elif tag == "ruby":
            self.rubies.append(element)
        elif tag in ("figure", "figcaption"):
            self.figures.append(element)
        elif tag in ("button", "label"):
            (self.wrappers if element.matches(_NO_CONTROLS) else self.figures).append(element)
        self.has_editors |= tag in ("div", "table") and may_be_editor(element)
        self.has_formulas |= tag in ("math", "mjx-container") or (tag == "img" and element.matches(IMAGES_OF_FORMULAS))

    def _sort_by_attributes(self, element: ElementNode, tag: str) -> None:
        style = element.get_attribute("style")
        if tag in LITERAL_TAGS or (style is not None and tag in _PREFORMATTED and keeps_lines(style)):
            self.literal.append(element)
        if tag in PHRASES and ((style and is_block(style)) or element.get_attribute("role") in _CELL_ROLES):
            self.boxes.append(element)
        if (style is not None and is_hiding(style)) or is_hidden_by_attribute(element, tag):
            self._sort_hidden(element)
        elif tag != "pre" and element.get_attribute("aria-hidden") == "true":
            self.not_for_screen_readers.append(element)

    def _sort_hidden(self, element: ElementNode) -> None:
        if is_streamed(element):
            self.streamed.append(element)
        elif not is_panel(element):
            self.maybe_hidden.append(element)


def is_hidden_by_attribute(element: ElementNode, tag: str) -> bool:
    """Whether an attribute of an element, or a lack of one, makes it invisible."""
    if element.has_attribute("popover") or (tag == "dialog" and not element.has_attribute("open")):
        return True
    hidden = element.get_attribute("hidden")
    return hidden is not None and hidden.lower() != "until-found"


def _open_most_of_the_page(body: ElementNode, wrappers: Sequence[ElementNode], visible: int) -> int:
    """Unwrap `wrappers` whose content is most of the page of `visible` characters: a forum's page for crawlers is in
    `noscript`, and the text after an unclosed figure is in the figure. Returns the characters of those contents."""
    opened = 0
    for wrapper in wrappers:
        characters = length(wrapper)
        if characters >= MIN_WRAPPED_SHARE * visible and body.contains(wrapper):
            opened += characters
            wrapper.replace_with(*wrapper.child_nodes.values())
    return opened


def _set_apart(tree: HTMLTree, box: ElementNode) -> None:
    """Put blanks around a cell, and line breaks around any other element that does not continue the line before it."""
    around = box.parent_element
    if around is None or box.closest("pre") is not None:
        return
    is_cell = box.get_attribute("role") in _CELL_ROLES
    for place in (box, box.next_sibling):
        around.insert_before(new_text(tree, " ") if is_cell else new_element(tree, "br"), place)


def _join(tree: HTMLTree, ruby: ElementNode) -> None:
    """Put the text of `ruby` into the text around it: resiliparse's main content loses texts next to it."""
    before, text, after = ruby.previous_sibling, ruby.text or "", ruby.next_sibling
    if isinstance(after, TextNode):
        text += after.data or ""
        after.remove()
    if isinstance(before, TextNode) and len(before.data or "") < MAX_JOINED_CHARACTERS:
        before.data = (before.data or "") + text
        ruby.remove()
    else:
        ruby.replace_with(new_text(tree, text))


def _remove_hidden(elements: Sequence[ElementNode], visible: int) -> int:
    """Remove hidden elements of a page of `visible` characters; returns the number of removed ones."""
    hidden: list[ElementNode] = []
    for element in elements:
        # In the order of the page, an element inside another follows it.
        if not (hidden and hidden[-1].contains(element)):
            hidden.append(element)
    characters = sum(map(length, hidden))
    if characters > (1 - MIN_VISIBLE_SHARE) * visible:
        return 0
    for element in hidden:
        again = visible_again(element)
        characters -= sum(map(length, again))
        element.replace_with(*again)
    return characters


def _remove_repeated(elements: Sequence[ElementNode], visible: int) -> bool:
    """Remove the elements of a page of `visible` characters whose text is repeated in the element around them; returns
    whether there are any."""
    readable, repeats = MAX_TEXT_READS * visible, False
    for element in elements:
        text, parent = _words(element), element.parent_element
        around = _words(parent) if text and parent is not None else ""
        readable -= len(around)
        if readable < 0:
            break
        if around.count(text) > 1:
            repeats = True
            element.remove()
    return repeats


def _words(element: ElementNode) -> str:
    return " ".join((element.text or "").split())
