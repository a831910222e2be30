"""Sections whose ids or classes are generated from their headings stay, whatever the headings are."""

import pytest

from pipelines.source.web.extraction.extract import extract
from pipelines.source.web.extraction.layout.names import is_made_of

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
TITLES = ["Bridges", "Related work", "Navigation", "Cookies", "Lamps", "Newsletter author"]
HEADED = {
    "Pandoc": "<section id='{slug}' class='level2'><h2><span class='header-section-number'>{n}</span> {title}</h2>",
    "bookdown": "<div id='{slug}' class='section level2'><h2><span>1.{n}</span> {title}</h2>",
    "Sphinx": "<section id='{slug}'><h2><span>{n}. </span>{title}<a class='headerlink' href='#{slug}'>¶</a></h2>",
    "Texinfo": "<div id='{dashed}'><div class='nav'><p>Next: <a href='n'>Lamps</a></p></div><h2>{n} {title}</h2>",
    "Asciidoctor": "<div class='sect1'><h2 id='_{under}'>{title}</h2><div>",
    "WordPress": "<div><h2 class='wp-block-heading' id='h-{slug}'>{title}</h2>",
    "GitHub": "<div><h2 id='user-content-{slug}'>{title}</h2>",
    "a second of the title": "<section id='{slug}-1'><h2>{title}</h2>",
    "LaTeX": "<div class='section' id='sec-{slug}'><h2>{title}</h2>",
    "LaTeXML": "<section id='sec:{slug}'><h2><span>A.{n}</span> {title}</h2>",
    "a wrapper": "<section id='{slug}'><div><h2>{title}</h2></div>",
    "an anchor": "<section id='{slug}'><a class='anchor' href='#{slug}'></a><h2>{title}</h2>",
    "docutils": "<section id='{slug}'><span id='x{n}'></span><h2>{title}</h2>",
    "an emoji": "<section id='{slug}'><h2>🍪 {title}</h2>",
    "a class": "<section class='{slug}'><h2>{title}</h2>",
}


def sections(opening: str) -> str:
    blocks = []
    for number, title in enumerate(TITLES, 1):
        slug = title.lower().replace(" ", "-")
        names = {"slug": slug, "under": slug.replace("-", "_"), "dashed": title.replace(" ", "-")}
        start = opening.format(n=number, title=title, **names)
        end = "".join(
            f"</{tag}>" for tag in ("div", "section") for _ in range(start.count(f"<{tag}") - start.count(f"</{tag}"))
        )
        blocks.append(f"{start}<p>Section {number} begins. {SENTENCE * 2}</p>{end}")
    return "".join(blocks)


@pytest.mark.parametrize("generator", HEADED)
def test_a_section_that_is_named_after_its_heading_stays(generator):
    text, _ = extract(
        f"<html><body><main><h1>The flood</h1>{sections(HEADED[generator])}</main></body></html>", "cascade"
    )
    assert [title for title in TITLES if title not in text] == []
    assert [number for number in range(1, 7) if f"Section {number} begins." not in text] == []


@pytest.mark.parametrize("attribute", ["class", "id"])
def test_boxes_beside_an_article_that_are_named_after_their_headings_go(attribute):
    boxes = "".join(
        f"<div {attribute}='{name}'><h3>{name.replace('-', ' ').title()}</h3><p>Unwanted.</p></div>"
        for name in ("related-posts", "newsletter")
    )
    article = f"<p>{SENTENCE * 4}</p>" * 5
    text, _ = extract(f"<html><body><main><h1>The flood</h1>{article}{boxes}</main></body></html>", "cascade")
    assert "Unwanted" not in text and text.count(SENTENCE.strip()) == 20


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("navigation-generale", "Navigation générale"),
        ("navigation-générale", "Navigation générale"),
        ("cookies-loeschen", "Cookies löschen"),
        ("cookies-loschen", "Cookies löschen"),
        ("cookies-löschen", "Cookies löschen"),
        ("ads-and-you", "Ads & you"),
        ("ads-you", "Ads & you"),
        ("print", "print()"),
        ("2019-cookies", "2019 Cookies"),
        ("subsec:cookies", "3.1.2 Cookies"),
        ("appendix-cookies", "Appendix: Cookies"),
    ],
)
def test_the_id_of_a_title_is_known(name, title):
    assert is_made_of(name, title)


@pytest.mark.parametrize(
    ("name", "title"),
    [("", ""), ("", "Cookies"), ("cookie-banner", "Cookies"), ("footer-related", "Related"), ("s", "1.")],
)
def test_other_ids_are_not_made_of_a_title(name, title):
    assert not is_made_of(name, title)
