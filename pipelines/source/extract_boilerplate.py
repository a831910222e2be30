"""Finds the main part of a parsed page and takes out what is not prose: navigation, teasers, share buttons, link lists.

The rules are those of published extractors, as CSS selectors over the DOM of resiliparse: where the main part is and
what its class names are called by after trafilatura's XPath expressions (A. Barbaresi, "Trafilatura: A Web Scraping
Library and Command-Line Tool for Text Discovery and Extraction", ACL 2021), link density and short blocks after
boilerpipe (C. Kohlschütter et al., "Boilerplate Detection using Shallow Text Features", WSDM 2010) and jusText
(J. Pomikálek, "Removing Boilerplate and Duplicate Content from Web Corpora", 2011). The thresholds were chosen on
481 annotated pages; on the halves of them that are drawn by URL, F1 is 0.001 and 0.013 below trafilatura's
(benchmarks/RESULTS.md).
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from resiliparse.parse.html import ElementNode, ElementNodeList, HTMLTree

MIN_MAIN_CHARACTERS = 1000
"""Prose below which a candidate is a teaser or a first paragraph, not the main part of its page."""
MAX_NAMED_SHARE = 0.35
"""Share of the main part above which a block is never boilerplate, whatever its name says."""
MAX_SUSPECT_SHARE = 0.2
"""As MAX_NAMED_SHARE, for names that boilerplate and content both bear."""
SHORT_CHARACTERS = 160
"""A suspect block shorter than this goes."""
MAX_SUSPECT_LINK_DENSITY = 0.4
"""Share of a longer suspect block's characters that are links above which it goes."""
MAX_LINK_DENSITY = 0.5
"""Share of characters that are links above which any block is a list of links and goes."""
MAX_LINK_LIST_CHARACTERS = 3000
"""A longer block of links may be what the page is for."""
MAX_TEXT_READS = 20
"""Times that the text of one page is read, all blocks together, before pruning stops: blocks inside blocks inside
blocks would cost time quadratic in their nesting."""

_AROUND = (
    "nav,footer,aside,menu,dialog,"
    # Asked once whether there is such an attribute: most elements have none.
    "[role]:is([role=navigation],[role=contentinfo],[role=dialog],[role=search],[role=menu]),"
    "form:not(:has(p,article,main))"
)
_NO_PROSE = "script,style,iframe,svg,template,button,select,object,video,audio,label,textarea"
_ASIDES = "noscript,figcaption,figure:not(:has(p,table,pre,li))"
_NAMED = ":is(div,section,ul,ol,p,span,header,h2,h3,h4,h5,a):is([class],[id])"
_LINKED = ":is(ul,ol,table,div,p,h2,h3,h4,h5):has(a)"
_PROSE = "p,li"


def _containing(attribute: str, *parts: str) -> str:
    return ",".join(f"[{attribute}*={part}]" for part in parts)


def _containers(selectors: str) -> str:
    return f":is(article,div,main,section):is({selectors})"


_MAIN_PARTS = (
    "[itemprop=articleBody],[itemprop=articlebody],[property='content:encoded']",
    _containers(
        ".post,.entry,#articleContent,"
        + _containing("id", "article-content", "article-body", "articleBody", "entry-content", "body-text")
        + ","
        + _containing("class", "post-text", "post_text", "post-body", "postentry", "post-entry", "post-content")
        + ","
        + _containing("class", "post_content", "postcontent", "postContent", "article-text", "articletext")
        + ","
        + _containing("class", "articleText", "entry-content", "page-content", "text-content", "article-content")
        + ","
        + _containing("class", "article__content", "article-body", "article__body", "articlebody", "articleBody")
        + ","
        + _containing("class", "ArticleContent", "body-text")
    ),
    "article",
    _containers(
        "[role=article],#article,#story,.postarea,.text,.story,[id^=primary],[class*=fulltext i],[class^='article '],"
        + _containing("class", "story-content", "storycontent", "theme-content", "blog-content", "section-content")
        + ","
        + _containing("class", "single-content", "single-post", "main-column", "wpb_text_column", "story-body")
        + ",[class*=field-body]"
    ),
    _containers(
        "#content,.content,[id*=main-content i],[class*=main-content i],[class*=page-content i],"
        + _containing("id", "content-main", "content-body")
        + ","
        + _containing("class", "content-main", "content_main", "content-body", "content__body")
    ),
    "main,[role^=main],:is(article,div,section):is([class^=main],[id^=main])",
)
"""Where the main part of a page is, most certain first."""

_BOILERPLATE_WORDS = (
    r"nav|shar(?:e|ing)|social|tags?|taglist|cookies?|consent|newsletter|subscri\w*|sidebar|bread-?crumbs?|footer|"
    r"related|author|byline|comments?(?:list|form|s)?|outbrain|taboola|banner|menu|login|signup|paywall|popup|modal|"
    r"pagination|pager|teilen|print|recommend\w*|recirc\w*|advert\w*|sponsor\w*|promo|disqus|respond|skip|toolbar|"
    r"ads?|copyright|disclaimer|"
    # Hidden labels, scrollbars, and what small screens do not show, are no hidden blocks.
    r"(?<!label-)(?<!overflow-)hidden(?!-[a-z]{1,7}\b)"
)
_BOILERPLATE = re.compile(
    rf"(?:^|[_-])(?:{_BOILERPLATE_WORDS})(?=$|[_-])"
    r"|[a-z](?:Nav|Share|Social|Related|Footer|Sidebar|Newsletter|Comments|Author|Teaser|Breadcrumb)"
    r"|elated[-_A-Z]|avigation|newsletter|bread-?crumb|[Ss]har(?:e|ing)|no-?print|print-none|hide-print"
    r"|most-?(?:popular|read|view)|meistgelesen|outbrain|taboola|akismet|sociable|cookie|comments-|commentlist"
    r"|nocomments|-reply|read-?more|also-?like|more-?(?:on|from)"
)
_SUSPECT = re.compile(
    r"widget|embed|meta|rating|attachment|timestamp|user-|icon|infos?\b|(?<!post_)message|slide|overlay|options"
    r"|expand|[Tt]easer|caption|next-|prev|stories|popular|trending|latest|promo|box|aside|^bottom|button|date"
    r"|category|categories|topics?|link|recomm|banner|social|headline-list|gallery|carousel|toc\b|poll|quiz|survey"
    r"|(?<![a-z])forms?(?![a-z])|contact|sticky|panel|sub-?content|rail"
)


def keep_main_part(tree: HTMLTree) -> None:
    """Reduce the body of `tree` to the main part of its page, without boilerplate."""
    body = tree.body
    if body is None:
        return
    _remove_all(body, _AROUND)
    main = _main_part(body)
    _remove_all(main, f"{_NO_PROSE},{_ASIDES}")
    # resiliparse prints no figure; many a table and listing stands in one.
    for figure in main.query_selector_all("figure:has(table,pre)").values():
        figure.replace_with(*figure.children.values())
    if main is not body:
        body.replace_children(main)
    _Pruning(main).run()


def without_surroundings(html: str) -> str:
    """HTML without the elements that never hold prose: less work for whoever parses it next."""
    tree = HTMLTree.parse(html)
    if tree.body is not None:
        _remove_all(tree.body, f"{_AROUND},{_NO_PROSE}")
    return str(tree)


class _Pruning:
    """Removes boilerplate below one element, and counts the characters read on the way."""

    def __init__(self, main: ElementNode) -> None:
        self._main = main
        self._total = len(main.text or "")
        self._readable = MAX_TEXT_READS * self._total

    def run(self) -> None:
        self._remove(_NAMED, self._is_named_boilerplate)
        self._remove(_LINKED, self._is_link_list)

    def _remove(self, selector: str, goes: Callable[[ElementNode], bool]) -> None:
        """Remove what `selector` finds and `goes` picks; what stands inside is not asked any more."""
        found = self._main.query_selector_all(selector)
        place = 0
        while (element := found.item(place)) is not None:
            place += 1
            if goes(element):
                # In the order of the page, what stands inside an element follows it.
                place += len(element.query_selector_all(selector))
                element.remove()

    def _is_named_boilerplate(self, element: ElementNode) -> bool:
        boilerplate, suspect = _judge_names(element.class_name, element.id)
        if boilerplate and self._length(element) <= MAX_NAMED_SHARE * self._total:
            return True
        return suspect and self._is_boilerplate(element)

    def _is_boilerplate(self, suspect: ElementNode) -> bool:
        length = self._length(suspect)
        if length > MAX_SUSPECT_SHARE * self._total:
            return False
        return length < SHORT_CHARACTERS or self._has_links(suspect, MAX_SUSPECT_LINK_DENSITY * length)

    def _is_link_list(self, element: ElementNode) -> bool:
        length = self._length(element)
        return 0 < length < MAX_LINK_LIST_CHARACTERS and self._has_links(element, MAX_LINK_DENSITY * length)

    def _has_links(self, element: ElementNode, min_characters: float) -> bool:
        """Whether more than `min_characters` of the element's text are links."""
        characters = 0
        for link in _one_by_one(element.get_elements_by_tag_name("a")):
            characters += self._length(link)
            if characters > min_characters:
                return True
        return False

    def _length(self, element: ElementNode) -> int:
        """Characters of the element's text; once the page was read too often, more than any rule removes."""
        if self._readable < 0:
            return self._total + MAX_LINK_LIST_CHARACTERS
        text = element.text or ""
        self._readable -= len(text)
        return len(text.strip())


@lru_cache(maxsize=2**16)
def _judge_names(class_names: str | None, element_id: str | None) -> tuple[bool, bool]:
    """Whether an element's names are boilerplate's own, or suspect."""
    names = f"{class_names or ''} {element_id or ''}".split()
    # WordPress writes the terms of an entry (microformats' hentry) among its names.
    judgements = [_judge_name(name) for name in names if not name.startswith("tag-") or "hentry" not in names]
    return any(boilerplate for boilerplate, _ in judgements), any(suspect for _, suspect in judgements)


@lru_cache(maxsize=2**16)
def _judge_name(name: str) -> tuple[bool, bool]:
    return _BOILERPLATE.search(name) is not None, _SUSPECT.search(name) is not None


def _main_part(body: ElementNode) -> ElementNode:
    for selector in _MAIN_PARTS:
        found = body.query_selector(selector)
        if found is not None and _has_prose(found):
            return found
    return body


def _has_prose(element: ElementNode) -> bool:
    """Whether MIN_MAIN_CHARACTERS stand in its blocks of prose; no more of them are read, for lists stand in lists."""
    characters = 0
    for block in _one_by_one(element.query_selector_all(_PROSE)):
        characters += len(block.text or "")
        if characters >= MIN_MAIN_CHARACTERS:
            return True
    return False


def _remove_all(element: ElementNode, selector: str) -> None:
    for found in element.query_selector_all(selector).values():
        found.remove()


def _one_by_one(found: ElementNodeList) -> Iterator[ElementNode]:
    """The elements of a list that is rarely read to its end: Python's object for one costs several microseconds, and
    iterating over the list itself makes those of all elements anew at each step."""
    place = 0
    while (element := found.item(place)) is not None:
        yield element
        place += 1
