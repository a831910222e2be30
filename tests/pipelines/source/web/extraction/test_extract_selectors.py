"""Selectors that are arranged for speed match the same elements as their rules one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resiliparse.parse.html import ElementNode, HTMLTree

from pipelines.source.web.extraction.code import EDITORS, may_be_editor
from pipelines.source.web.extraction.layout.boilerplate import NO_TEXT, SURROUNDINGS, may_ask_for_consent
from pipelines.source.web.extraction.layout.main_part import MAIN_PARTS
from pipelines.source.web.extraction.visible import SPECIAL, is_hidden_by_attribute

EDITOR_RULES = [
    *("div.cm-content", "div.CodeMirror-code", "div.ace_text-layer", "div.view-lines", "div.crayon-pre"),
    *("div.react-code-lines", "div.enlighter-default", "div[class^=syntaxhighlighter]", "div[class=fragment]"),
    "table.js-file-line-container",
]
BLOCKS = ("p", "pre", "table", "ul")
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6", "summary", "dt", "th", "legend", "caption", "[role=heading]")
SPECIAL_RULES = [
    *("template", "rt", "rp", "rtc", "ruby", "figure:has(p)", "figcaption:has(p)", "iframe", "pre", "dialog"),
    *("canvas", "noframes", "noembed", "xmp", "button:has(p)"),
    *(f"{heading} {control}" for heading in HEADINGS for control in ("button", "label")),
    *(f"button:has({heading})" for heading in HEADINGS[:6]),
    *(f"label:has({block})" for block in (*BLOCKS, *HEADINGS[:6])),
    *("script[type^='math/']", "math", "mjx-container", "img.tex[alt]", "img.latex[alt]"),
    *("img.mwe-math-fallback-image-inline[alt]", "img.mwe-math-fallback-image-display[alt]"),
    *("img[class*=quicklatex][alt]", "[hidden]", "[popover]", "[aria-hidden=true]:not(:empty)"),
    "[style]",
    *("button[class*=accordion i]", "button[class*=collapsible i]"),
    *EDITOR_RULES,
]
MAIN_PART_RULES = [
    ["[itemprop=articleBody]", "[itemprop=articlebody]", "[property='content:encoded']"],
    [
        *(".post", ".entry", "#articleContent", "[id*=article-content]", "[id*=article-body]", "[id*=articleBody]"),
        *("[id*=entry-content]", "[id*=body-text]", "[class*=post-text]", "[class*=post_text]", "[class*=post-body]"),
        *("[class*=postentry]", "[class*=post-entry]", "[class*=post-content]", "[class*=post_content]"),
        *("[class*=postcontent]", "[class*=postContent]", "[class*=article-text]", "[class*=articletext]"),
        *("[class*=articleText]", "[class*=entry-content]", "[class*=page-content]", "[class*=text-content]"),
        *("[class*=article-content]", "[class*=article__content]", "[class*=article-body]", "[class*=article__body]"),
        *("[class*=articlebody]", "[class*=articleBody]", "[class*=ArticleContent]", "[class*=body-text]"),
    ],
    ["article"],
    [
        *("[role=article]", "#article", "#story", ".postarea", ".text", ".story", "[id^=primary]"),
        *("[class*=fulltext i]", "[class^='article ']", "[class*=story-content]", "[class*=storycontent]"),
        *("[class*=theme-content]", "[class*=blog-content]", "[class*=section-content]", "[class*=single-content]"),
        *("[class*=single-post]", "[class*=main-column]", "[class*=wpb_text_column]", "[class*=story-body]"),
        "[class*=field-body]",
    ],
    [
        *("#content", ".content", "[id*=main-content i]", "[class*=main-content i]", "[class*=page-content i]"),
        *("[id*=content-main]", "[id*=content-body]", "[class*=content-main]", "[class*=content_main]"),
        *("[class*=content-body]", "[class*=content__body]"),
    ],
]
NO_TEXT_RULES = [
    *("script", "style", "iframe", "svg", "template", "button", "select", "object", "video", "audio", "label"),
    *("textarea", "noscript", "figcaption", "figure:not(:has(p,table,pre,li))"),
]
CONSENT_RULES = [
    *("#onetrust-consent-sdk", "#onetrust-banner-sdk", "#onetrust-pc-sdk", "#CybotCookiebotDialog", "#didomi-host"),
    *("#usercentrics-root", "#BorlabsCookieBox", "#cookiescript_injected", "#iubenda-cs-banner", "#tarteaucitronRoot"),
    *("#cmplz-cookiebanner-container", "#truste-consent-track", "#cookie-law-info-bar", "#axeptio_overlay"),
    *("#moove_gdpr_cookie_info_bar", "#moove_gdpr_cookie_modal", "#hs-eu-cookie-confirmation"),
    *("[id^=sp_message_container]", ".qc-cmp2-container", ".cky-consent-container", ".osano-cm-window"),
    *(".shopify-pc__banner__dialog", ".shopify-pc__prefs__dialog"),
]
SURROUNDINGS_RULES = [
    *("nav", "footer", "aside", "menu", "dialog", "form:not(:has(p,article,main))", *CONSENT_RULES),
    *(f"[role={role}]" for role in ("navigation", "contentinfo", "dialog", "search", "menu")),
]
CONTAINERS = ("article", "div", "main", "section")
RULES = [
    pytest.param(SPECIAL, SPECIAL_RULES, id="special"),
    pytest.param(EDITORS, EDITOR_RULES, id="editors"),
    pytest.param(NO_TEXT, NO_TEXT_RULES, id="no text"),
    pytest.param(SURROUNDINGS, SURROUNDINGS_RULES, id="surroundings"),
    *(
        pytest.param(selector, rules, id=f"main part {number}")
        for number, (selector, rules) in enumerate(
            zip(
                MAIN_PARTS[:5],
                (
                    [f"{tag}:is({rule})" for tag in CONTAINERS for rule in rules] if number in (1, 3, 4) else rules
                    for number, rules in enumerate(MAIN_PART_RULES)
                ),
                strict=True,
            )
        )
    ),
]

TAGS = (
    *(
        "style",
        "div",
        "a",
        "span",
        "li",
        "p",
        "DIV",
        "article",
        "main",
        "section",
        "table",
        "figure",
        "figcaption",
        "img",
    ),
    *("button", "label", "h2", "summary", "dt", "pre", "ul", "ruby", "rt", "rp", "rtc", "template", "script", "svg"),
    *("math", "mjx-container", "dialog", "iframe", "noscript", "textarea", "select", "Object", "video", "audio"),
    *("nav", "footer", "aside", "menu", "form", "canvas", "noframes", "noembed", "xmp"),
)
NAMES = (
    *("post", "entry", "articleContent", "articleBody", "articlebody", "article__body", "entry-content"),
    *("body-text", "post_text", "post-body", "postentry", "page-content", "text-content", "ArticleContent"),
    *("article ", "article", "story", "text", "fulltext", "postarea", "primary", "story-content"),
    *("storycontent", "theme-content", "single-post", "single-content", "main-column", "wpb_text_column"),
    *("story-body", "field-body", "content", "main-content", "content-main", "content_main", "content__body"),
    *("cm-content", "CodeMirror-code", "view-lines", "ace_text-layer", "js-file-line-container"),
    *(
        "react-code-lines",
        "enlighter-default",
        "syntaxhighlighter py",
        "fragment",
        "crayon-pre",
        "tex",
        "latex",
        "quicklatex",
        "lead",
        "",
        "mwe-math-fallback-image-inline",
    ),
    *("mwe-math-fallback-image-display", "article-content", "article-body", "post-text", "post-entry"),
    *("post-content", "post_content", "postcontent", "postContent", "article-text", "articletext"),
    *("articleText", "article__content", "blog-content", "section-content", "content-body", "share", "Ads"),
    *("sp_message_container_7", *(rule[1:] for rule in CONSENT_RULES if rule[0] != "[")),
)
ATTRIBUTES = {
    "class": NAMES,
    "id": NAMES,
    "style": ["display:none", "opacity:0", "color:red"],
    "role": ("article", "heading", "main", "navigation", "contentinfo", "dialog", "search", "menu"),
    "title": ("<p class=&quot;share&quot;>", "<a id=x>", ">", "<!--"),
    "itemprop": ("articleBody", "articlebody", "name"),
    "property": ("content:encoded",),
    "type": ("math/tex", "text/javascript"),
    "aria-hidden": ("true", "false"),
    "hidden": ("", "until-found", "hidden"),
    "popover": ("", "auto"),
    "open": ("",),
    "alt": ("x",),
}


@st.composite
def attributes(draw: st.DrawFn) -> str:
    """An attribute of one value or more in any case, one character of them as a reference."""
    name = draw(st.sampled_from(sorted(ATTRIBUTES)))
    value = draw(st.sampled_from(["", " ", "x-", "\t"])).join(
        draw(st.sampled_from([part, part.upper(), part.title()]))
        for part in draw(st.lists(st.sampled_from(ATTRIBUTES[name]), min_size=1, max_size=3))
    )
    if value and draw(st.booleans()):
        location = draw(st.integers(0, len(value) - 1))
        value = f"{value[:location]}&#{ord(value[location])};{value[location + 1 :]}"
    return f' {draw(st.sampled_from([name, name.upper()]))}="{value}"'


@st.composite
def elements(draw: st.DrawFn, inside: st.SearchStrategy[str]) -> str:
    tag = draw(st.sampled_from(TAGS))
    return f"<{tag}{''.join(draw(st.lists(attributes(), max_size=3)))}>{draw(inside)}</{tag}>"


PAGES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "<!doctype html>"]),
        st.just("<body>"),
        st.lists(st.recursive(st.sampled_from(["", "x"]), elements, max_leaves=6), max_size=6).map("".join),
    ),
)
"""Pages with a document type and without one, which makes class names and ids insensitive to case."""


EVERYTHING = "".join(
    (
        *(f"<{tag}>x</{tag}>" for tag in TAGS),
        *(
            f"<{tag} alt {name}='{value}'>x</{tag}>"
            for tag in ("div", "article", "main", "section", "table", "script", "img", "i")
            for name, values in ATTRIBUTES.items()
            for value in values
        ),
        *(
            f"<figure><p>x</p></figure><figcaption><p>x</p></figcaption><label><{tag}>x</{tag}></label>"
            for tag in (*BLOCKS, *HEADINGS[:6])
        ),
        "<button class='accordion'>x</button><button class='collapsible'>x</button>",
        *(
            f"<{tag} role={role}><button>x</button><label>x</label></{tag}>"
            for tag, role in (*((heading, "none") for heading in HEADINGS[:-4]), ("dt", "none"), ("div", "heading"))
        ),
        *(f"<button><{tag}>x</{tag}></button>" for tag in (*HEADINGS[:6], "p")),
        "<table><caption><button>x</button><label>x</label></caption>",
        "<tr><th><button>x</button><label>x</label></th></tr></table>",
        "<fieldset><legend><button>x</button><label>x</label></legend></fieldset>",
    )
)
"""Each tag, attribute and nesting that a rule asks for."""


def body_of(html: str) -> ElementNode:
    body = HTMLTree.parse(html).body
    assert body is not None
    return body


@pytest.mark.parametrize(("selector", "rules"), RULES)
@given(html=PAGES)
def test_a_selector_finds_what_its_rules_find_one_by_one(selector, rules, html):
    body = body_of(html)
    expected = {element for rule in rules for element in body.query_selector_all(rule).values()}
    result = body.query_selector_all(selector).values()
    assert set(result) == expected
    assert len(result) == len(expected)


@pytest.mark.parametrize("doctype", ["", "<!doctype html>"])
@pytest.mark.parametrize(("selector", "rules"), RULES)
def test_a_page_of_everything_has_an_element_for_each_rule(selector, rules, doctype):
    body = body_of(f"{doctype}<body>{EVERYTHING}")
    by_rule = [set(body.query_selector_all(rule).values()) for rule in rules]
    assert all(by_rule)
    assert set(body.query_selector_all(selector).values()) == set().union(*by_rule)


@given(html=PAGES)
def test_a_look_at_the_names_rules_out_neither_an_editor_nor_a_dialog_of_consent(html):
    body = body_of(html)
    assert all(map(may_be_editor, body.query_selector_all(",".join(EDITOR_RULES)).values()))
    assert all(map(may_ask_for_consent, body.query_selector_all(",".join(CONSENT_RULES)).values()))


@given(html=PAGES)
def test_attributes_hide_what_css_says_of_them(html):
    body = body_of(html)
    hidden = set(body.query_selector_all("[hidden]:not([hidden=until-found i]),[popover],dialog:not([open])").values())
    for element in body.query_selector_all("*").values():
        assert is_hidden_by_attribute(element, element.tag or "") == (element in hidden)
