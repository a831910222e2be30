"""Plain text and Markdown of a tree differ in marks alone."""

import re
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from pipelines.source.web.extraction.formats import FORMATS

BLOCKS = ["p", "div", "h2", "blockquote", "ul", "ol", "dl", "table", "section", "figure", "pre", "details", "a", "b"]
INSIDE = {"ul": ["li"], "ol": ["li"], "dl": ["dt", "dd"], "table": ["tr"], "tr": ["td", "th"]}
INLINE = ["b", "code", "sup", "sub", "em", "span", "a", "kbd"]
WORDS = st.sampled_from(["lamp", "oil & gas", "x < y", "Bonn", "水", "v3"])


def tree(html: str) -> HTMLTree:
    return HTMLTree.parse(f"<html><body>{html}</body></html>")


def plain(html: str) -> str:
    return FORMATS["text"].all_text(tree(html))


def words_without_marks(markdown: str) -> list[str]:
    """Words of Markdown whose text has none of its marks."""
    lines = (line for line in markdown.splitlines() if not re.fullmatch(r"[>\s\-\d.:]*(?:`{3}.*|\|(?: --- \|)+)", line))
    text = "\n".join(re.sub(r"^(?:> ?|\s|- |: |#+ |\d+\. )+", "", line) for line in lines)
    text = re.sub(r"</?su[bp]>", "", text.replace("|", " ").replace("`", ""))
    return text.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "0123456789" * 2)).split()


def words(text: str) -> list[str]:
    return re.sub(r"^(?:\s*(?:•|\d+\.(?= )))+", "", text, flags=re.MULTILINE).split()


@st.composite
def phrases(draw: st.DrawFn) -> str:
    tag, text = draw(st.sampled_from(INLINE)), escape(draw(WORDS))
    return draw(st.sampled_from([text, f"{text} <{tag}>{text}</{tag}> {text}"]))


def within(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def element(tag: str) -> st.SearchStrategy[str]:
        content = st.lists(children, min_size=1, max_size=3)
        for inner in INSIDE.get(tag, [])[:1]:
            items = st.tuples(st.sampled_from(INSIDE[tag]), element(inner) if inner == "tr" else children)
            return st.lists(items, min_size=1, max_size=3).map(
                lambda each: f"<{tag}>{''.join(f'<{name}>{text}</{name}>' for name, text in each)}</{tag}>"
            )
        return content.map(lambda texts: f"<{tag}>{' '.join(texts)}</{tag}>")

    return st.sampled_from(BLOCKS).flatmap(element)


PAGES = st.lists(st.recursive(phrases(), within, max_leaves=12), min_size=1, max_size=4).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(PAGES)
def test_both_formats_have_the_same_words_in_the_same_order(html):
    assert words(plain(html)) == words_without_marks(FORMATS["markdown"].all_text(tree(html)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["p", "h2", "div", "ul><li", "blockquote"]), WORDS), min_size=1, max_size=6))
def test_blocks_are_the_lines_that_resiliparse_prints(blocks):
    html = "".join(f"<{tag}>{escape(text)}</{tag.partition('>')[0]}>" for tag, text in blocks)
    theirs = extract_plain_text(tree(html), preserve_formatting=True)
    assert [line.strip() for line in plain(html).splitlines() if line] == [
        line.strip() for line in theirs.splitlines() if line.strip()
    ]


def test_paragraphs_are_apart_and_lines_of_a_list_or_of_divisions_are_not():
    html = "<div>one</div><div>two</div><p>three</p><ol start=3><li>four<ul><li>five</ul><li>six</ol><h2>seven</h2>end"
    assert plain(html) == "one\ntwo\n\nthree\n\n  3. four\n    • five\n  4. six\n\nseven\n\nend"


def test_plain_listings_in_a_list_keep_their_own_indentation():
    html = "<ol><li>Write:<pre>def f():\n    return 1</pre>then<ul><li><pre>x\ny</pre></ul><li>Run it.</ol>"
    assert plain(html) == "  1. Write:\n\ndef f():\n    return 1\n\n  then\nx\ny\n  2. Run it."


def test_rows_of_a_table_are_whole_in_plain_text():
    html = "<table><tr><th>City<th>Level<tr><td rowspan=2><p>Bonn</p><p>am Rhein</p><td>4<tr><td>5</table>"
    assert plain(html) == "City\tLevel\nBonn am Rhein\t4\n\t5"


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("attributes", ['title="a"b"', "title='it's'", '"', '="x"', 'a"b="<c>"', "data-x=`>"])
@pytest.mark.parametrize("tag", ["div", "span"])
def test_quotes_that_a_page_pairs_wrongly_cost_no_text(name, attributes, tag):
    html = f'<p>before</p><{tag} {attributes}>inside</{tag}><p>after <b title="x">all</b></p>'
    theirs = extract_plain_text(tree(html))
    assert FORMATS[name].all_text(tree(html)).split() == theirs.split()
