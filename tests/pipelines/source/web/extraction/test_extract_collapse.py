"""No page with prose collapses to nothing or to a fragment, with any names and nesting of its blocks."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.source.web.extraction import extract as module
from pipelines.source.web.extraction.extract import extract
from pipelines.source.web.extraction.markup import Markup

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
MENU = "<nav><ul><li><a href='/'>Start</a></li><li><a href='/map'>Map</a></li></ul></nav>"
FOOTER = "<footer><p>All rights reserved by the town.</p></footer>"


def part(number: int, sentences: int = 4) -> str:
    return f"<p>Part {number} begins. {SENTENCE * sentences}</p>"


def parts(count: int, around: str = "{}") -> str:
    return "".join(around.format(part(number)) for number in range(count))


def page(body: str) -> str:
    return f"<html><head><title>Flood</title></head><body>{MENU}{body}{FOOTER}</body></html>"


def missing(text: str, count: int) -> list[int]:
    return [number for number in range(count) if f"Part {number} begins." not in text]


ADVERT = "<div class='ad-slot'></div>"
POST = "<div class='topic-body' itemprop='comment'><span class='creator'>ann</span><div class='post'>{}</div></div>"
LAYOUTS = {
    "an article in several blocks": "".join(f"<div class='article-text'>{part(n, 12)}</div>{ADVERT}" for n in range(8)),
    "an article of numbered blocks": "".join(f"<div class='post-text part-{n}'>{part(n, 12)}</div>" for n in range(8)),
    "a thread": parts(8, POST),
    "a thread whose first post is long": POST.format(part(0, 20)) + parts(8, POST),
    "posts called comments": "".join(
        f"<div id='comment-{n}_wrap' class='comment-{n}'>{part(n)}</div>" for n in range(8)
    ),
    "answers in articles": parts(8, "<article class='answer'>{}</article>"),
    "posts on a wall": "<div id='main-outlet'>" + parts(8, "<section class='post-stream'>{}</section>") + "</div>",
    "a form around the page": "<form id='aspnetForm' action='./x.aspx'>" + parts(8, "<div>{}</div>") + "</form>",
    "a form without paragraphs": "<form id='aspnetForm'>" + parts(8).replace("p>", "div>") + "</form>",
    "an aside that is not closed": f"<div><aside><span>Note</span>{parts(8)}</div>",
    "a nav that is not closed": f"<div><nav><a href='/'>Home</a>{parts(8)}</div>",
    "a dialog around the page": f"<div role='dialog'>{parts(8)}</div>",
    "not a footer": f"<div id='wsite-not-footer'>{parts(8)}</div>",
    "with a sidebar": f"<div class='layout with-sidebar has-menu'>{parts(8)}</div>",
    "without comments": f"<div class='no-comments'>{parts(8)}</div>",
    "hidden by a number": parts(8, "<div class='ssr-variant hidden-1x7ab9'>{}</div>"),
    "hidden by letters and digits": parts(8, "<div class='hidden-bnz77l hidden-12t0irv'>{}</div>"),
    "hidden on a phone": parts(8, "<div class='hidden md:block'>{}</div>"),
    "a part that is hidden": f"<div class='product quick-add-hidden title-hidden'>{parts(8)}</div>",
    "terms of a shop": parts(8, "<div class='entry tag-floods category-news'>{}</div>"),
    "the text above read more": f"<div class='entry-content-read-more'>{parts(8)}</div>",
    "a page in noscript": f"<div id='app'></div><noscript><div class='wrap'>{parts(8)}</div></noscript>",
    "a label around each part": parts(8, "<div><label>Read</label>{}</div>"),
    "a main menu": f"<div id='mainMenu' class='mainNav'><p>{'Map of the town. ' * 80}</p></div><div>{parts(8)}</div>",
    "teasers before the text": "<article class='teaser'><p>Look!</p></article>" * 3 + f"<div>{parts(8)}</div>",
    "everything called share": parts(8, "<div class='share'>{}</div>"),
    "everything called differently": "".join(
        f"<div class='{name}'>{part(n)}</div>"
        for n, name in enumerate(["share", "tags", "related", "promo", "author", "banner", "newsletter", "sponsor"])
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_parts_of_a_page_are_all_in_its_text(layout):
    text, _ = extract(page(LAYOUTS[layout]), "cascade")
    assert missing(text, 8) == []
    assert "Start" not in text.split() and "All rights reserved" not in text


@pytest.mark.parametrize("name", ["cookies", "comments", "tags", "sharing", "related", "author", "footer", "menu"])
@pytest.mark.parametrize("tag", ["section", "div"])
def test_ids_that_are_made_of_headings_name_nothing(name, tag):
    headings = ["floods", "lamps", "bridges", name]
    body = "".join(
        f"<{tag} id='{each}'><h2>{each.title()}<a href='#{each}'>#</a></h2>{part(n)}</{tag}>"
        for n, each in enumerate(headings)
    )
    text, _ = extract(page(f"<article>{body}{parts(0)}</article>"), "cascade")
    assert missing(text, 4) == []


@pytest.mark.parametrize("tag", ["section", "div"])
@pytest.mark.parametrize("name", ["comments", "navigation", "social", "menu", "related-terms"])
def test_a_heading_that_links_to_its_section_is_what_names_it(name, tag):
    title = name.replace("-", " ").title()
    block = f"<{tag} id='{name}'><h2>{title}<a class='headerlink' href='#{name}'>#</a></h2>{part(9)}</{tag}>"
    text, _ = extract(page(f"<main>{parts(8)}{block}</main>"), "cascade")
    assert "Part 9 begins." in text


@pytest.mark.parametrize("name", ["comments", "related", "tags", "newsletter"])
def test_an_id_that_is_like_its_heading_alone_still_names_boilerplate(name):
    block = f"<div id='{name}'><h2>{name.title()}</h2><p>Not wanted here.</p></div>"
    text, _ = extract(page(f"<article>{parts(8)}{block}</article>"), "cascade")
    assert "Not wanted" not in text and missing(text, 8) == []


LINKED = {
    "an encyclopedia's stub": "<main id='content'><div id='bodyContent'><p><a href='/a'>Northam</a> is a "
    "<a href='/b'>parish</a> of the <a href='/c'>province of the Upper Coast</a>.</p></div></main>",
    "titles of a list": "<main><ul>"
    + "".join(f"<li><a href='/{n}'>A long title of entry number {n} of this list</a></li>" for n in range(20))
    + "</ul></main>",
    "cards": "<main>"
    + "".join(
        f"<div class='card'><a href='/{n}'><h3>Lamp number {n} of brass</h3><b>It costs {n} crowns</b></a></div>"
        for n in range(20)
    )
    + "</main>",
}


@pytest.mark.parametrize("kind", LINKED)
def test_a_page_that_consists_of_links_has_a_text(kind):
    text, _ = extract(page(LINKED[kind]), "cascade")
    expected = ["province of the Upper Coast"] if "stub" in kind else [f"number {n} of" for n in range(20)]
    assert [each for each in expected if each not in text] == []


def test_a_table_of_data_whose_cells_link_is_no_list_of_links():
    rows = "".join(f"<tr><td><a href='/{n}'>District {n} of the town</a></td><td>{n * n}</td></tr>" for n in range(9))
    table = f"<table><tr><th>District</th><th>Houses</th></tr>{rows}</table>"
    text, _ = extract(page(f"<article>{parts(8)}{table}</article>"), "cascade")
    assert all(f"District {n} of the town" in text for n in range(9))


WORDS = [
    "share",
    "tags",
    "related",
    "promo",
    "author",
    "banner",
    "newsletter",
    "sponsor",
    "comments",
    "hidden",
    "footer",
    "sidebar",
    "widget",
    "meta",
    "box",
]
TAGS = (
    "div",
    "section",
    "aside",
    "form",
    "nav",
    "article",
    "header",
    "ul",
    "footer",
    "noscript",
    "label",
    "figcaption",
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(WORDS)), min_size=1, max_size=4), st.booleans())
def test_whatever_stands_around_the_whole_page_its_prose_is_there(around, each):
    opening = "".join(f"<{tag} class='{name}'>" for tag, name in around)
    closing = "".join(f"</{tag}>" for tag, _ in reversed(around))
    body = parts(8, f"{opening}{{}}{closing}") if each else f"{opening}{parts(8)}{closing}"
    text, _ = extract(f"<html><body>{body}</body></html>", "cascade")
    assert missing(text, 8) == []


@pytest.mark.parametrize("left", ["", "Read on.", "The river rose. "])
def test_a_page_of_which_little_is_left_is_chosen_again_and_says_so(left, monkeypatch):
    def lose(*_):
        return "article", Markup(f"<body><p>{left}</p></body>")

    monkeypatch.setattr(module, "keep_main_part", lose)
    monkeypatch.setattr(module, "_trafilatura", lambda *_: ("", ""))
    text, engine = extract(page(parts(8)), "cascade")
    assert missing(text, 8) == [] and engine.startswith("second choice: ")
    assert "All rights reserved" not in text


def test_chosen_pages_are_counted(monkeypatch, tmp_path):
    from pipelines.artifacts.documents import Document, DocumentWriter
    from pipelines.source.document_sink import DocumentSink

    with DocumentWriter(tmp_path, 0) as writer:
        reading = DocumentSink(tmp_path, "cascade", 0.0, writer)
        for number, engine in enumerate(["resiliparse", "second choice: main content", "second choice: all text"]):
            reading.write(Document(f"text {number}", "https://a.example/", "x", extractor=engine))
    assert reading.counts["chosen_again"] == 2 and json.dumps(reading.counts)
