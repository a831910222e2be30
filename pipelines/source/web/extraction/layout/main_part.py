"""Finds the main part of a page: the block, or the smallest block around several alike, that holds its prose.

Selectors of the main part and of its class names follow trafilatura's XPath expressions (A. Barbaresi, "Trafilatura: A
Web Scraping Library and Command-Line Tool for Text Discovery and Extraction", ACL 2021).
"""

from collections.abc import Sequence

from resiliparse.parse.html import ElementNode, ElementNodeList

from pipelines.source.web.extraction.dom import length, one_by_one
from pipelines.source.web.extraction.layout.names import judge_names, kind_of

MIN_MAIN_CHARACTERS = 1000
"""Prose below which a candidate is a teaser or a first paragraph, not the main part of its page."""
MAX_CANDIDATES = 200
"""Elements that one selector finds which are looked at."""
_PROSE = "p,li"


def _containing(attribute: str, *parts: str) -> str:
    return ",".join(f"[{attribute}*={part}]" for part in parts)


def _sharing(attribute: str, part: str, *selectors: str) -> str:
    """`selectors` of elements whose `attribute` contains this `part`: a test that spares the parser most others."""
    return f"[{attribute}*={part} i]:is({','.join(selectors)})"


def _containers(*selectors: str) -> str:
    # Half of all elements have none of these attributes, which the parser tests faster than tags.
    return f":is([class],[id],[role]):is(article,div,main,section):is({','.join(selectors)})"


MAIN_PARTS = (
    _sharing("itemprop", "article", "[itemprop=articleBody],[itemprop=articlebody]") + ",[property='content:encoded']",
    _containers(
        _sharing(
            "class",
            "post",
            ".post",
            _containing("class", "post-text", "post_text", "post-body", "postentry", "post-entry", "post-content"),
            _containing("class", "post_content", "postcontent", "postContent"),
        ),
        _sharing("class", "entry", ".entry,[class*=entry-content]"),
        _sharing(
            "class",
            "article",
            _containing("class", "article-text", "articletext", "articleText", "article-content", "article__content"),
            _containing("class", "article-body", "article__body", "articlebody", "articleBody", "ArticleContent"),
        ),
        _containing("class", "page-content", "text-content", "body-text"),
        _sharing(
            "id", "article", "#articleContent", _containing("id", "article-content", "article-body", "articleBody")
        ),
        _containing("id", "entry-content", "body-text"),
    ),
    "article",
    _containers(
        "[role=article],#article,#story,[id^=primary],[class^='article ']",
        _sharing("class", "text", ".text,[class*=fulltext i],[class*=wpb_text_column]"),
        _sharing("class", "story", ".story,[class*=story-body]"),
        _sharing("class", "post", ".postarea,[class*=single-post]"),
        _sharing(
            "class",
            "content",
            _containing("class", "story-content", "storycontent", "theme-content", "blog-content", "section-content"),
            "[class*=single-content]",
        ),
        _containing("class", "main-column", "field-body"),
    ),
    _containers(
        _sharing("id", "content", "#content,[id*=main-content i],[id*=content-main],[id*=content-body]"),
        _sharing(
            "class",
            "content",
            ".content,[class*=main-content i],[class*=page-content i]",
            _containing("class", "content-main", "content_main", "content-body", "content__body"),
        ),
    ),
    "main,[role^=main],:is(article,div,section):is([class^=main],[id^=main])",
)
"""Selectors of the main part of a page, most certain first."""

MIN_ALIKE_SHARE = 0.25
"""Text of the blocks that are similar to the main one, as a share of it, from which they belong to it: the article
continues below an advertisement, or each post of a thread is one."""
MIN_MAIN_SHARE = 0.1
"""Share of a page's text below which a block is one of many parts."""
MIN_GROUP_SHARE = 0.5
"""Share of a page's text from which blocks are its main part together, though none is so by itself."""


def main_part(body: ElementNode, whole: int) -> ElementNode:
    """The main part of a page of `whole` characters that are not blank; all of it if no block is known for one."""
    for selector in MAIN_PARTS:
        candidates = [each for each in _outermost(body.query_selector_all(selector)) if not _is_boilerplate(each)]
        for group in _alike(candidates):
            main = _main_of(group)
            if main is None or (characters := length(main)) < MIN_MAIN_SHARE * whole:
                continue
            if main is candidates[0] or characters >= MIN_GROUP_SHARE * whole:
                return main
    return body


def _is_boilerplate(element: ElementNode) -> bool:
    return judge_names(element.class_name, element.id)[0]


def _outermost(elements: ElementNodeList) -> list[ElementNode]:
    """The first MAX_CANDIDATES elements of a list, without those inside another of them."""
    chosen: list[ElementNode] = []
    for number, element in enumerate(one_by_one(elements)):
        if number == MAX_CANDIDATES:
            break
        # In the order of the page, an element inside another follows it.
        if not chosen or not chosen[-1].contains(element):
            chosen.append(element)
    return chosen


def _alike(candidates: Sequence[ElementNode]) -> list[list[ElementNode]]:
    """`candidates` in groups of one kind, in the order of the page."""
    groups: dict[object, list[ElementNode]] = {}
    for element in candidates:
        groups.setdefault(kind_of(element.tag, element.class_name), []).append(element)
    return list(groups.values())


def _main_of(group: Sequence[ElementNode]) -> ElementNode | None:
    """The first of `group` if it has prose and is most of them, else the element around all of them that has."""
    around = group[0] if _is_most(*group) else _common_ancestor(group)
    return around if _has_prose(around) else None


def _is_most(first: ElementNode, *others: ElementNode) -> bool:
    return not others or sum(map(length, others)) < MIN_ALIKE_SHARE * length(first)


def _common_ancestor(elements: Sequence[ElementNode]) -> ElementNode:
    ancestor = elements[0]
    while not (ancestor.contains(elements[-1]) and all(map(ancestor.contains, elements))):
        parent = ancestor.parent_element
        if parent is None:
            return ancestor
        ancestor = parent
    return ancestor


def _has_prose(element: ElementNode) -> bool:
    """Whether its blocks of prose have MIN_MAIN_CHARACTERS; no more of them are read, because lists are nested."""
    characters = 0
    for block in one_by_one(element.query_selector_all(_PROSE)):
        characters += len(block.text or "")
        if characters >= MIN_MAIN_CHARACTERS:
            return True
    return False
