"""Removes everything but prose from a parsed page: navigation, teasers, share buttons, link lists.

The rules are those of published extractors, as CSS selectors over the DOM of resiliparse: link density and short blocks
after boilerpipe (C. Kohlschütter et al., "Boilerplate Detection using Shallow Text Features", WSDM 2010) and jusText
(J. Pomikálek, "Removing Boilerplate and Duplicate Content from Web Corpora", 2011). Which of them apply depends on the
type of the page. No rule removes the bulk of a page, and none but invisibility looks inside code. Figures are in
benchmarks/RESULTS.md.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import compress, count, starmap
from typing import NamedTuple

from resiliparse.parse.html import ElementNode, HTMLTree

from pipelines.source.web.extraction.code import CODE
from pipelines.source.web.extraction.dom import inked, length, of_rare_tags, one_by_one, open_figures, remove_all
from pipelines.source.web.extraction.layout.main_part import main_part
from pipelines.source.web.extraction.layout.names import NAMED_TAGS, judge_names, kind_of, may_be_boilerplate, names_in
from pipelines.source.web.extraction.layout.page_type import page_type
from pipelines.source.web.extraction.layout.type_rules import RULES, Rules

MAX_AROUND_SHARE = 0.4
"""Share of a page's text above which an element tagged as navigation, a form or an aside surrounds the page itself: one
form around all (ASP.NET), an unclosed aside."""
MIN_LEFT_AROUND = 0.05
"""Share of a page's text that remains without elements tagged as navigation, forms and asides."""
MAX_NAMED_SHARE = 0.5
"""Share of the main part above which a block is never boilerplate, regardless of its name."""
MAX_SUSPECT_SHARE = 0.2
"""As MAX_NAMED_SHARE, for names that boilerplate and content both bear."""
MIN_LEFT_SHARE = 0.2
"""Share of the main part that pruning leaves: above all the blocks that are called the same, answers called comments or
entries that are links, are the page's content."""
MIN_SPARED_SHARE = 0.5
"""Prose of blocks that are called the same, as a share of that of the largest such kind, from which they are content
too if the largest is."""
MIN_ENTRIES = 3
"""Blocks of one kind from which they are entries of a list, if their share of the page is large."""
MIN_CODE_SHARE = 0.5
"""Share of a block's text that is code from which the block is a listing."""
MIN_TITLE_CHARACTERS = 25
"""Characters of a link from which it is a title and no entry of a menu."""
SHORT_CHARACTERS = 140
"""A suspect block shorter than this goes."""
MAX_SUSPECT_LINK_DENSITY = 0.4
"""Share of a longer suspect block's characters that are links above which it goes."""
MAX_LINK_DENSITY = 0.5
"""Share of characters that are links above which any block is a list of links and goes."""
MAX_LINK_LIST_CHARACTERS = 2600
"""A longer block of links may be the purpose of the page."""
MAX_TEXT_READS = 20
"""Times that the text of one page is read, all blocks together, before pruning stops: blocks inside blocks inside
blocks would cost time quadratic in their nesting."""
MIN_HEADED_BLOCKS = 3
"""Blocks of a page whose ids repeat their headings from which its ids are made of headings and name nothing."""

_AROUND = (
    "nav,footer,aside,menu,dialog,"
    # Asked once whether there is such an attribute: most elements have none.
    "[role]:is([role=navigation],[role=contentinfo],[role=dialog],[role=search],[role=menu]),"
    "form:not(:has(p,article,main))"
)
_CONSENT_IDS = (
    *("onetrust-consent-sdk", "onetrust-banner-sdk", "onetrust-pc-sdk", "CybotCookiebotDialog", "didomi-host"),
    *("usercentrics-root", "BorlabsCookieBox", "cookiescript_injected", "iubenda-cs-banner", "tarteaucitronRoot"),
    *("cmplz-cookiebanner-container", "truste-consent-track", "cookie-law-info-bar", "axeptio_overlay"),
    *("moove_gdpr_cookie_info_bar", "moove_gdpr_cookie_modal", "hs-eu-cookie-confirmation"),
)
_CONSENT_CLASSES = ("qc-cmp2-container", "cky-consent-container", "osano-cm-window")
_MORE_CONSENT_CLASSES = ("shopify-pc__banner__dialog", "shopify-pc__prefs__dialog")
_CONSENT = (
    f"[id]:is({','.join(f'#{name}' for name in _CONSENT_IDS)},[id^=sp_message_container]),"
    f"[class*='-c' i]:is({','.join(f'.{name}' for name in _CONSENT_CLASSES)}),"
    f"[class*=shopify-pc i]:is({','.join(f'.{name}' for name in _MORE_CONSENT_CLASSES)})"
)
"""The dialogs of consent managers, whose list of partners and purposes may be longer than the page."""
_CONSENT_NAMES = frozenset(name.lower() for name in (*_CONSENT_IDS, *_CONSENT_CLASSES, *_MORE_CONSENT_CLASSES))
SURROUNDINGS = f"{_AROUND},{_CONSENT}"
_NO_PROSE = "script,style,iframe,svg,template,button,select,object,video,audio,label,textarea"
_ASIDES = "noscript,figcaption,figure:not(:has(p,table,pre,li))"
NO_TEXT_BUT_CAPTIONS = of_rare_tags(f"{_NO_PROSE},noscript")
NO_TEXT = of_rare_tags(f"{_NO_PROSE},{_ASIDES}")
"""Elements removed from the main part before its blocks are examined."""
NAMED = f":is([class]:not([class='']),[id]:not([id=''])):is({','.join(NAMED_TAGS)})"
_LINKED = ":is(ul,ol,table,div,p,h2,h3,h4,h5):has(a)"
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


def keep_main_part(html: str, body: ElementNode, visible: int, has_captions: bool = False) -> str:
    """Reduce the body of a page, of `visible` characters that are not blank, to its main part without boilerplate;
    returns the type of the page."""
    main, text, characters, shares = main_part_of(body, visible, NO_TEXT_BUT_CAPTIONS if has_captions else NO_TEXT)
    if main is not body:
        body.replace_children(main)
    main_html = main.html or ""
    if not has_captions and "<figure" in main_html and open_figures(main):
        main_html = main.html or ""
    kind = page_type(html, main_html, text, characters, shares)
    _Pruning(main, main_html, characters, MAX_TEXT_READS * len(text), RULES[kind]).run()
    return kind


def main_part_of(
    body: ElementNode, visible: int, no_text: str = NO_TEXT
) -> tuple[ElementNode, str, int, tuple[float, float]]:
    """The main part of a page with its text, the characters of that that are not blank, and the shares of the page
    outside of navigation, and of the main part in that; removes its surroundings, and the elements in it that `no_text`
    selects."""
    visible, whole = _remove_around(body, visible)
    main = main_part(body, whole)
    remove_all(main, no_text)
    text = main.text or ""
    characters = inked(text)
    return main, text, characters, (whole / (visible or 1), characters / (whole or 1))


def without_surroundings(html: str) -> str:
    """HTML without the elements that never hold prose: less work for the next parser."""
    tree = HTMLTree.parse(html)
    if tree.body is not None:
        remove_surroundings(tree.body)
    return str(tree)


def remove_surroundings(body: ElementNode) -> None:
    """Remove the elements that never hold prose."""
    remove_all(body, f"{_NO_PROSE},noscript")
    _remove_around(body, length(body))


def _remove_around(body: ElementNode, visible: int) -> tuple[int, int]:
    """Remove the dialogs that ask for consent to cookies and the surroundings of the page's main part; returns how many
    of the `visible` characters are left without the former, and without both."""
    dialogs: list[ElementNode] = []
    surroundings: list[ElementNode] = []
    for node in body.query_selector_all(SURROUNDINGS).values():
        # In the order of the page, descendants follow their element.
        if dialogs and dialogs[-1].contains(node):
            continue
        is_dialog = may_ask_for_consent(node) and node.matches(_CONSENT)
        (dialogs if is_dialog else surroundings).append(node)
    for dialog in dialogs:
        visible -= length(dialog)
        dialog.remove()
    removals: list[_Removal] = []
    for node in surroundings:
        if removals and removals[-1].element.contains(node):
            continue
        characters = length(node)
        if characters <= MAX_AROUND_SHARE * visible and not (node.tag == "aside" and is_listing(node, characters)):
            removals.append(_Removal(node, characters, node.tag))
    spared = _spared(removals, visible, MIN_LEFT_AROUND)
    for each in spared:
        each.element.remove()
    return visible, visible - sum(each.characters for each in spared)


def may_ask_for_consent(element: ElementNode) -> bool:
    """Whether the names of an element allow that it is one of _CONSENT."""
    names = f"{element.id} {element.class_name}".lower()
    return "sp_message_container" in names or not _CONSENT_NAMES.isdisjoint(names.split())


def is_listing(element: ElementNode, characters: int) -> bool:
    """Whether most of an element's text, of so many characters, is code, as in the blocks that highlighters make."""
    code = element.query_selector(CODE)
    return code is not None and length(code) >= MIN_CODE_SHARE * characters


class _Removal(NamedTuple):
    """An element that a rule removes, its characters, and the key that it shares with similar elements."""

    element: ElementNode
    characters: int
    kind: object


class _Pruning:
    """Removes boilerplate below one element, and counts the characters read on the way."""

    def __init__(self, main: ElementNode, html: str, characters: int, readable: int, rules: Rules) -> None:
        self._main, self._html, self._rules = main, html, rules
        self._total, self._readable = characters, readable
        self._has_code = main.query_selector(CODE) is not None
        self._headed: bool | None = None

    def run(self) -> None:
        # Not below 0: once the page was read too often, lengths are larger than any block.
        self._total = max(0, self._total - self._remove(self._suspiciously_named(), self._is_named_boilerplate))
        if self._rules.link_lists:
            self._remove(one_by_one(self._main.query_selector_all(_LINKED)), self._is_link_list)

    def _suspiciously_named(self) -> Iterator[ElementNode]:
        """The elements of NAMED whose names are boilerplate's or suspect."""
        named, names = self._main.query_selector_all(NAMED), names_in(self._html)
        is_named = self._main.tag in NAMED_TAGS and bool(self._main.class_name or self._main.id)
        if len(names) != is_named + len(named):  # a text looks like tags
            return one_by_one(named)
        return one_by_one(named, compress(count(), starmap(may_be_boilerplate, names[is_named:])))

    def _remove(self, candidates: Iterable[ElementNode], goes: Callable[[ElementNode], bool]) -> int:
        """Remove the `candidates` that `goes` picks, unless one is the content of the page; descendants of removed
        elements are not tested. Returns how many characters went."""
        removals: list[_Removal] = []
        for element in candidates:
            # In the order of the page, descendants follow their element.
            if removals and removals[-1].element.contains(element):
                continue
            if goes(element) and not (self._has_code and element.closest(CODE) is not None):
                removals.append(_Removal(element, self._length(element), kind_of(element.tag, element.class_name)))
        going = _spared(self._without_entries(removals), self._total, MIN_LEFT_SHARE)
        for each in going:
            each.element.remove()
        return sum(each.characters for each in going)

    def _without_entries(self, removals: list[_Removal]) -> list[_Removal]:
        """`removals` without the kinds that repeat and together hold much of the main part: the entries of a page that
        lists them."""
        rules = self._rules
        if rules.min_entries_share >= 1:
            return removals
        members = Counter(each.kind for each in removals)
        characters: Counter[object] = Counter()
        for each in removals:
            characters[each.kind] += each.characters
        entries = {
            kind
            for kind in members
            if members[kind] >= MIN_ENTRIES and characters[kind] >= rules.min_entries_share * self._total
        }
        return [each for each in removals if each.kind not in entries or not self._may_be_entry(each.element)]

    def _may_be_entry(self, element: ElementNode) -> bool:
        return self._rules.entries_of_any_name or not judge_names(element.class_name, None)[0]

    def _is_named_boilerplate(self, element: ElementNode) -> bool:
        boilerplate, suspect = judge_names(element.class_name, element.id)
        if not boilerplate and not suspect:
            return False
        if element.id and self._is_named_after_its_heading(element):
            boilerplate, suspect = judge_names(element.class_name, None)
        if boilerplate and self._length(element) <= MAX_NAMED_SHARE * self._total:
            return not self._is_listing(element)
        return suspect and self._rules.suspects and self._is_boilerplate(element) and not self._is_listing(element)

    def _is_boilerplate(self, suspect: ElementNode) -> bool:
        characters = self._length(suspect)
        if characters > MAX_SUSPECT_SHARE * self._total:
            return False
        return characters < SHORT_CHARACTERS or self._has_links(suspect, MAX_SUSPECT_LINK_DENSITY * characters)

    def _is_link_list(self, element: ElementNode) -> bool:
        characters = self._length(element)
        if not 0 < characters < MAX_LINK_LIST_CHARACTERS:
            return False
        if not self._has_links(element, MAX_LINK_DENSITY * characters) or self._is_listing(element):
            return False
        if element.query_selector("h1") is not None:  # the title among links, such as breadcrumbs
            return False
        if element.tag in _HEADINGS and element.query_selector("a[href^='#']") is not None:
            return False
        return element.closest("table:has(th)") is None

    def _is_listing(self, element: ElementNode) -> bool:
        """Whether most of the element's text is code, as in the blocks that highlighters make."""
        return self._has_code and is_listing(element, self._length(element))

    def _has_links(self, element: ElementNode, min_characters: float) -> bool:
        """Whether more than `min_characters` of the element's text are links."""
        characters = 0
        for link in one_by_one(element.query_selector_all("a")):
            characters += self._length(link)
            if characters > min_characters:
                return True
        return False

    def _is_named_after_its_heading(self, element: ElementNode) -> bool:
        if not _repeats_heading(element):
            return False
        if self._headed is None:
            blocks = self._main.query_selector_all(f":is(section,div,{','.join(_HEADINGS)})[id]")
            headed = (True for block in one_by_one(blocks) if _repeats_heading(block))
            self._headed = sum(1 for _, _ in zip(headed, range(MIN_HEADED_BLOCKS), strict=False)) == MIN_HEADED_BLOCKS
        return self._headed

    def _length(self, element: ElementNode) -> int:
        """Characters of the element's text; once the page was read too often, more than any rule removes."""
        if self._readable < 0:
            return self._total + MAX_LINK_LIST_CHARACTERS
        text = element.text or ""
        self._readable -= len(text)
        return inked(text)


def _spared(removals: list[_Removal], total: int, min_left: float) -> list[_Removal]:
    """`removals` without the kinds that hold prose, if less than `min_left` of `total` characters would stay."""
    if total - sum(each.characters for each in removals) >= min_left * total:
        return removals
    prose: Counter[object] = Counter()
    for each in removals:
        links = each.element.query_selector_all("a").values()
        prose[each.kind] += each.characters - sum(map(_menu_characters, links))
    least = MIN_SPARED_SHARE * max(prose.values(), default=0)
    return [each for each in removals if prose[each.kind] <= 0 or prose[each.kind] < least]


def _menu_characters(link: ElementNode) -> int:
    """Characters of a link that are an entry of a menu, and no title or sentence."""
    characters = length(link)
    return characters if characters < MIN_TITLE_CHARACTERS else 0


def _repeats_heading(element: ElementNode) -> bool:
    """Whether the id of an element is generated from its heading."""
    heading = element if element.tag in _HEADINGS else element.first_element_child
    if heading is None or heading.tag not in _HEADINGS:
        return False
    slug = "".join(filter(str.isalnum, (heading.text or "").lower()))
    return bool(slug) and "".join(filter(str.isalnum, (element.id or "").lower())) == slug
