"""Removes everything but prose from a parsed page: navigation, overlays, teasers, share buttons, link lists.

The rules are those of published extractors, as CSS selectors over the DOM of resiliparse: link density and short blocks
after boilerpipe (C. Kohlschütter et al., "Boilerplate Detection using Shallow Text Features", WSDM 2010) and jusText
(J. Pomikálek, "Removing Boilerplate and Duplicate Content from Web Corpora", 2011). Which of them apply depends on the
type of the page. No rule removes the bulk of a page, and none but invisibility looks inside code. Figures are in
benchmarks/RESULTS.md.
"""

import re
from collections.abc import Iterator

from resiliparse.parse.html import ElementNode, HTMLTree

from pipelines.source.web.extraction.code import CODE, MIN_CODE_SHARE
from pipelines.source.web.extraction.css.hiding import is_fixed
from pipelines.source.web.extraction.dom import inked, length, of_rare_tags, open_figures, remove_all
from pipelines.source.web.extraction.layout.main_part import main_part
from pipelines.source.web.extraction.layout.page_type import page_type
from pipelines.source.web.extraction.layout.pruning import prune
from pipelines.source.web.extraction.layout.removals import Removal, spared
from pipelines.source.web.extraction.layout.type_rules import RULES
from pipelines.source.web.extraction.markup import Markup

MAX_AROUND_SHARE = 0.4
"""Share of a page's text above which an element tagged as navigation, a form or an aside surrounds the page itself: one
form around all (ASP.NET), an unclosed aside."""
MIN_LEFT_AROUND = 0.05
"""Share of a page's text that remains without elements tagged as navigation, forms and asides."""

_TAGGED = (
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
_NOTE = re.compile(
    r"(?:^|\s)(?:admonition|callout|note|hint|tip|doc-(?:tip|notice)|(?:doc-)?(?:end|foot)notes?|starlight-aside|(?:portable-)?infobox)"
    r"(?=$|[\s_-])",
    re.IGNORECASE,
)
"""Names and roles of an aside that is a part of its text: documentation sets its notes so, books their footnotes, wikis
their tables of facts."""
SURROUNDINGS = f"{_TAGGED},[style*=fixed i],{_CONSENT}"
_NO_PROSE = "script,style,iframe,svg,template,button,select,object,video,audio,label,textarea"
_ASIDES = "noscript,figcaption,figure:not(:has(p,table,pre,li))"
NO_TEXT_BUT_CAPTIONS = of_rare_tags(f"{_NO_PROSE},noscript")
NO_TEXT = of_rare_tags(f"{_NO_PROSE},{_ASIDES}")
"""Elements removed from the main part before its blocks are examined."""


def keep_main_part(html: str, body: ElementNode, visible: int, has_captions: bool = False) -> tuple[str, Markup]:
    """The type of a page, and the main part of its body, of `visible` characters that are not blank, without
    boilerplate."""
    main, text, characters, shares = main_part_of(body, visible, NO_TEXT_BUT_CAPTIONS if has_captions else NO_TEXT)
    if main is not body:
        body.replace_children(main)
    main_html = body.html or ""
    if not has_captions and "<figure" in main_html and open_figures(main):
        main_html = body.html or ""
    page = Markup(main_html)
    kind = page_type(html, page, text, characters, shares)
    prune(page, 0 if main is body else 1, characters, RULES[kind])
    return kind, page


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
    removals: list[Removal[ElementNode]] = []
    for node in surroundings:
        if removals and removals[-1].element.contains(node):
            continue
        if not _is_fixed(node) and not node.matches(_TAGGED):
            continue
        characters = length(node)
        is_content = node.tag == "aside" and (is_note(node) or is_listing(node, characters))
        if characters <= MAX_AROUND_SHARE * visible and not is_content:
            removals.append(Removal(node, characters, node.tag))
    going = spared(removals, visible, MIN_LEFT_AROUND, _lengths_of_links)
    for each in going:
        each.element.remove()
    return visible, visible - sum(each.characters for each in going)


def _is_fixed(element: ElementNode) -> bool:
    style = element.get_attribute("style")
    return style is not None and is_fixed(style)


def may_ask_for_consent(element: ElementNode) -> bool:
    """Whether the names of an element allow that it is one of _CONSENT."""
    names = f"{element.id} {element.class_name}".lower()
    return "sp_message_container" in names or not _CONSENT_NAMES.isdisjoint(names.split())


def is_note(aside: ElementNode) -> bool:
    """Whether an aside is a note, a warning or a footnote of the text around it, by its names."""
    attributes = (aside.get_attribute(name) for name in ("class", "role", "epub:type"))
    return _NOTE.search(" ".join(filter(None, attributes))) is not None


def is_listing(element: ElementNode, characters: int) -> bool:
    """Whether most of an element's text, of so many characters, is code, as in the blocks that highlighters make."""
    code = element.query_selector(CODE)
    return code is not None and length(code) >= MIN_CODE_SHARE * characters


def _lengths_of_links(element: ElementNode) -> Iterator[int]:
    return map(length, element.query_selector_all("a").values())
