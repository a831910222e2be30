"""The type of a page, and which of its blocks are boilerplate on a page of that type."""

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from pipelines.source.web.charsets import decode
from pipelines.source.web.extraction.dom import length
from pipelines.source.web.extraction.extract import extract, extract_page
from pipelines.source.web.extraction.layout.boilerplate import RULES, keep_main_part
from pipelines.source.web.extraction.layout.page_type import PAGE_TYPES, WEIGHTS, page_type
from pipelines.source.web.extraction.markup import Markup
from pipelines.source.web.extraction.visible import visible_page
from tests.kit.real_data import REAL_DATA

WCXB = REAL_DATA / "wcxb"
BENCHMARKS = Path(__file__).parents[6] / "benchmarks"
SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
STORY = f"<p>{SENTENCE * 4}</p>" * 5


def head(path: str, kind: str = "", schema: str = "") -> str:
    mark = f'<script type="application/ld+json">{{"@type": "{schema}"}}</script>' if schema else ""
    graph = f'<meta property="og:type" content="{kind}">' if kind else ""
    return f'<head><link rel="canonical" href="https://town.example/{path}">{graph}{mark}</head>'


def entries(count: int, block: str) -> str:
    return "".join(block.format(n) for n in range(count))


CARD = "<div class='item-info'><a href='/{0}'><h3>Lamp of brass number {0}</h3></a><p>It burns oil. ${0}.99</p></div>"
TEASER = "<div class='teaser-box'><h2><a href='/{0}'>Title number {0} of the day</a></h2><p>In short, {0}.</p></div>"
POST = "<div class='topic-post'><span>ann</span><time>2024</time><blockquote>Why {0}?</blockquote><p>{1}</p></div>"
PAGES = {
    "article": f"{head('blog/the-river-rose-in-the-night', 'article', 'NewsArticle')}<body><article>{STORY}</article>",
    "documentation": f"{head('docs/api/lamp')}<body><main>{STORY}"
    + entries(9, "<h3>light{0}</h3><p>Call it as <code>light({0})</code>.</p><pre>light({0})\n</pre>")
    + "</main>",
    "forum": f"{head('forum/threads/lamps.12345/', '', 'DiscussionForumPosting')}<body><main>"
    + "".join(POST.format(n, SENTENCE) for n in range(9))
    + "</main>",
    "product": f"{head('products/brass-lamp', 'product', 'Product')}<body><main><h1>Lamp</h1><p>$ 9.99</p>"
    f"<p>{SENTENCE}</p><input><input></main>",
    "collection": f"{head('collections/lamps', '', 'CollectionPage')}<body><main>{entries(24, CARD)}</main>",
    "listing": f"{head('tag/floods', 'website', 'ItemList')}<body><main>{entries(30, TEASER)}</main>",
}


def type_of(html: str) -> str:
    body = visible_page(html).tree.body
    assert body is not None
    return keep_main_part(html, body, length(body))[0]


@pytest.mark.parametrize("expected", PAGES)
def test_a_page_is_of_the_type_that_its_marks_and_blocks_say(expected):
    assert type_of(f"<html>{PAGES[expected]}</body></html>") == expected


def test_each_type_has_rules_and_an_empty_page_has_a_type():
    assert set(RULES) == set(PAGE_TYPES)
    assert page_type("", Markup(""), "", 0, (0, 0)) in PAGE_TYPES


@pytest.mark.parametrize(("kind", "count"), [("collection", 24), ("listing", 30)])
def test_the_entries_of_a_page_that_lists_them_are_its_content(kind, count):
    text, _ = extract(f"<html>{PAGES[kind]}</body></html>", "cascade")
    word = "Lamp of brass number" if kind == "collection" else "Title number"
    assert [n for n in range(count) if f"{word} {n}" not in text] == []


@pytest.mark.parametrize("length", range(0, 200, 20))
@pytest.mark.parametrize("schema", ["DiscussionForumPosting", "ItemList"])
@pytest.mark.parametrize("name", ["message-cell message-cell--main", "post_message", "user-post info"])
def test_a_post_stays_beside_longer_ones_however_short_it_is(name, schema, length):
    post = "<div class='{0}'><h4><a href='/u'>user {1}</a></h4><a href='/p'>Jan {1}, 2024</a><div>{2}</div></div>"
    texts = [f"Answer {n}: {SENTENCE[: length if n in (0, 4) else 200]}" for n in range(9)]
    posts = "".join(post.format(name, n, text) for n, text in enumerate(texts))
    html = f"<html>{head('forum/threads/1', '', schema)}<body><main>{posts}</main></body></html>"
    text, _ = extract(html, "cascade")
    assert [n for n in range(9) if f"Answer {n}:" not in text] == []


def test_the_same_entries_below_an_article_are_teasers():
    html = PAGES["article"].replace("</article>", f"{entries(5, TEASER)}</article>")
    text, _ = extract(f"<html>{html}</body></html>", "cascade")
    assert text.count(SENTENCE.strip()) == 20 and "Title number" not in text


def test_the_entries_of_a_listing_are_its_content_though_they_are_called_related():
    groups = entries(8, "<div class='related-list'><h3><a>The lamps of town {0}</a></h3><p>They burn oil.</p></div>")
    html = PAGES["listing"].replace("<main>", f"<main>{groups}")
    assert extract(f"<html>{html}</body></html>", "cascade")[0].count("The lamps of town") == 8


def test_a_block_of_links_around_the_title_is_no_list_of_links():
    block = (
        "<div class='x'><a href='/'>Lamps and lanterns</a><h1>Lamp of brass</h1><a href='/shop'>All our lamps</a></div>"
    )
    html = PAGES["article"].replace("<article>", f"<article>{block}")
    assert "Lamp of brass" in extract(f"<html>{html}</body></html>", "cascade")[0]


MENU = "<div class='x'>" + entries(40, "<span>Lamps of maker {0}</span><br>") + "</div>"


@pytest.mark.parametrize("text_format", ["text", "markdown"])
def test_lines_above_the_title_of_a_product_are_a_menu(text_format):
    html = PAGES["product"].replace("<h1>Lamp</h1>", f"{MENU}<h1>\n  Lamp <b>of brass</b></h1>")
    text = extract_page(f"<html>{html}</body></html>", "cascade", text_format).text
    assert text.removeprefix("# ").startswith("Lamp of brass\n") and SENTENCE.strip() in text


@pytest.mark.parametrize(
    "html",
    [
        PAGES["product"].replace("<h1>Lamp</h1>", "").replace("<input>", "<h1>Lamp</h1><p>It burns oil.</p><input>", 1),
        PAGES["article"].replace("<article>", f"<article>{MENU}<h1>Flood</h1>"),
    ],
    ids=["a title below the prose", "an article"],
)
def test_other_lines_above_a_title_stay(html):
    text, _ = extract(f"<html>{html}</body></html>", "cascade")
    assert text.startswith(("$ 9.99", "Lamps of maker 0")) and SENTENCE.strip() in text


@pytest.mark.parametrize("text_format", ["text", "markdown"])
def test_a_line_that_is_there_twice_is_left_out_of_a_product_but_not_of_its_code(text_format):
    twice = f"<p>{SENTENCE}</p><p>Short line</p><pre>light(lamp, wick='long', oil=3)\nwait()\n</pre>"
    html = PAGES["product"].replace("<input>", f"{twice}<div>{twice}</div><input>", 1)
    text = extract_page(f"<html>{html}</body></html>", "cascade", text_format).text
    assert text.count(SENTENCE.strip()) == 1 and text.count("light(lamp, wick='long', oil=3)\nwait()") == 2
    article = PAGES["article"].replace("</article>", f"<p>{SENTENCE}</p><p>{SENTENCE}</p></article>")
    assert extract(f"<html>{article}</body></html>", "cascade")[0].count(SENTENCE.strip()) == 22


def test_a_description_that_a_product_states_only_in_its_metadata_is_added():
    stated = "Hand-made of solid brass since 1910, with wick, chimney and polishing cloth; " * 3
    mark = f'<script type="application/ld+json">{{"@type": "Product", "description": "{stated}"}}</script>'
    with_policy = PAGES["product"].replace("<input>", f"<p>{SENTENCE * 4}</p><input>", 1)
    text, _ = extract(f"<html>{with_policy.replace('</head>', mark + '</head>')}</body></html>", "cascade")
    assert stated.strip() in text and SENTENCE.strip() in text
    shown = with_policy.replace("<p>$ 9.99", f"<p>{stated}</p><p>$ 9.99").replace("</head>", f"{mark}</head>")
    assert extract(f"<html>{shown}</body></html>", "cascade")[0].count(stated.strip()) == 1


@pytest.mark.parametrize(
    "around", ["<div id='onetrust-consent-sdk'>{}</div>", "<div id='sp_message_container_7'>{}</div>"]
)
def test_a_dialog_for_consent_goes_though_it_is_longer_than_the_page(around):
    dialog = around.format("<div class='ot-pc'>" + f"<p>We store data. {SENTENCE * 3}</p>" * 60 + "</div>")
    text, _ = extract(f"<html><body><article>{STORY}</article>{dialog}</body></html>", "cascade")
    assert "We store data" not in text and SENTENCE.strip() in text


@pytest.mark.slow
@pytest.mark.skipif(not WCXB.is_dir(), reason=f"no pages of seven types on this machine: {WCXB}")
def test_pages_that_no_weight_was_fitted_to_are_of_their_type():
    with gzip.open(WCXB / "gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        pages = [json.loads(line) for line in lines]
    held_out = [page for page in pages if hashlib.sha256(page["id"].encode()).digest()[0] >= 128]
    right = Counter[str]()
    for page in held_out:
        html = decode(gzip.decompress((WCXB / "html" / f"{page['id']}.html.gz").read_bytes()), "")
        right[page["page_type"]] += type_of(html) == page["page_type"]
    assert right.total() >= 0.6 * len(held_out)
    assert len(right) == len(PAGE_TYPES)


@pytest.mark.slow
@pytest.mark.skipif(not WCXB.is_dir(), reason=f"no pages of seven types on this machine: {WCXB}")
def test_the_weights_fit_the_features_as_they_are_computed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of a feature, `benchmarks/page_types.py --write` fits them again."""
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from page_types import fitted, read_examples

    ours, again = json.loads(WEIGHTS.read_text(encoding="utf-8")), json.loads(fitted(*read_examples()))
    assert ours["types"] == again["types"]
    assert ours["bias"] == pytest.approx(again["bias"], abs=0.01)
    assert ours["weights"].keys() == again["weights"].keys()
    for name, row in again["weights"].items():
        assert ours["weights"][name] == pytest.approx(row, abs=0.01), name
