"""Markdown of a page: each structure comes out as an independent reader of Markdown reads it, and nothing is lost."""

import difflib
import re
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipelines.source.web.extraction.extract import extract_page
from tests.kit.web.formulas import ENCODINGS, FORMULAS, encoded_formula

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
STORY = f"<p>{SENTENCE * 4}</p>" * 4
READER = MarkdownIt("commonmark").enable("table")


def markdown(inside: str) -> str:
    """The text between the story and the last sentence of an article that holds `inside`."""
    html = f"<html><body><article><h1>The flood</h1>{STORY}{inside}<p>It is over now.</p></article></body></html>"
    text = extract_page(html, "cascade", "markdown").text
    assert text.startswith("# The flood\n\n") and text.endswith("It is over now.")
    return text.rpartition(SENTENCE.strip())[2].removesuffix("It is over now.").strip("\n")


def read(text: str) -> list[str]:
    """Blocks of Markdown by the names of the reference implementation."""
    return [token.type for token in READER.parse(text)]


@pytest.mark.parametrize("level", range(1, 7))
@pytest.mark.parametrize(
    "inside", ["The day after", "<div>The day <b>after</b></div>", "<a href='#x'>The day<br>after</a>"]
)
def test_a_heading_has_its_level(level, inside):
    assert markdown(f"<h{level}>{inside}</h{level}>") == "#" * level + " The day after"


def test_lists_nest_count_and_start_where_the_page_says():
    page = (
        "<ol start='5'><li>oil<ul><li>clean</li><li>cheap<ol><li>now</li></ol></li></ul></li>"
        "<li><p>wick</p><p>of wool</p></li><li value='9'>glass</li></ol>"
    )
    assert markdown(page) == ("5. oil\n   - clean\n   - cheap\n     1. now\n6. wick\n\n   of wool\n9. glass")
    blocks = read(markdown(page))
    assert blocks.count("ordered_list_open") == 2 and blocks.count("bullet_list_open") == 1
    assert blocks.count("list_item_open") == 6


def test_quotations_definitions_and_captions():
    assert markdown("<blockquote><p>one</p><blockquote>two<br>three</blockquote></blockquote>") == (
        "> one\n>\n> > two\n> > three"
    )
    assert markdown("<dl><dt>lamp</dt><dd>it burns</dd><dd><p>oil</p><p>or gas</p></dd></dl>") == (
        "lamp\n: it burns\n: oil\n\n  or gas"
    )
    assert (
        markdown("<figure><img src='x'><figcaption>The bridge at night</figcaption></figure>") == "The bridge at night"
    )


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>Use <code>a_b</code>, <kbd>Ctrl</kbd> and <code>`</code></p>", "Use `a_b`, `Ctrl` and `` ` ``"),
        ("<p>10<sup>-3</sup> m<sup>2</sup> of H<sub>2</sub>O</p>", "10⁻³ m² of H₂O"),
        ("<p>x<sup>ab</sup>, said<sup><a href='#1'>[1]</a></sup></p>", "x<sup>ab</sup>, said[1]"),
        ("<p>one<br>two<br><br>three</p>", "one\ntwo\nthree"),
        ("<p>a&nbsp;&nbsp;b &nbsp;</p>", "a  b"),
        ("<p>a <b>bold</b> <a href='/x'>link</a></p>", "a bold link"),
    ],
)
def test_what_stands_in_a_line(page, expected):
    assert markdown(page) == expected


LANGUAGES = {
    "HTML": ("<pre><code class='language-python'>{}</code></pre>", "python"),
    "Prism": ("<pre class='language-js line-numbers'><code>{}</code></pre>", "js"),
    "highlight.js": ("<pre><code class='hljs rust'>{}</code></pre>", "rust"),
    "Sphinx": ("<div class='highlight-c++ notranslate'><div class='highlight'><pre>{}</pre></div></div>", "c++"),
    "GitHub": ("<div class='highlight highlight-source-shell'><pre>{}</pre></div>", "shell"),
    "Rouge": (
        "<div class='language-ruby highlighter-rouge'><div class='highlight'><pre>{}</pre></div></div>",
        "ruby",
    ),
    "Chroma": ("<div class='highlight'><pre><code class='language-go' data-lang='go'>{}</code></pre></div>", "go"),
    "Pandoc": ("<div class='sourceCode'><pre class='sourceCode haskell'><code>{}</code></pre></div>", "haskell"),
    "SyntaxHighlighter": ("<pre class='brush: php; title: x'>{}</pre>", "php"),
    "Stack Overflow": ("<pre class='lang-py s-code-block'><code class='hljs'>{}</code></pre>", "py"),
    "Expressive Code": ("<pre data-language='sh'><code>{}</code></pre>", "sh"),
    "none": ("<pre><code class='language-plaintext'>{}</code></pre>", ""),
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_listing_is_fenced_with_its_language(name):
    block, language = LANGUAGES[name]
    assert markdown(block.format("if a:\n\n\n    b  = 1\n")) == f"```{language}\nif a:\n\n\n    b  = 1\n```"


@pytest.mark.parametrize(
    "page",
    [
        "<pre><span class='lineno'>1 </span>a = 1\n<span class='lineno'>2 </span>b = 2\n</pre>",
        "<div class='highlight'><table><tr><td class='linenos'><pre>1\n2</pre></td>"
        "<td><pre>a = 1\nb = 2</pre></td></tr></table></div>",
        "<table><tr><td><pre>1\n2</pre></td><td><pre>a = 1\nb = 2</pre></td></tr></table>",
        "<pre><div>a = 1</div><div>b = 2</div></pre>",
        "<pre>a = 1<br>b = 2</pre>",
        "<blockquote><pre>a = 1\nb = 2</pre></blockquote>",
    ],
)
def test_lines_of_a_listing_are_whole_and_without_numbers(page):
    assert markdown(page) == "```\na = 1\nb = 2\n```"


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text("ab<>&`#|- \t", max_size=12).map(str.rstrip), min_size=1, max_size=8))
def test_any_code_is_read_back_from_its_fence(lines):
    code = "\n".join(["x", *lines, "y"])
    fences = [token for token in READER.parse(markdown(f"<pre>{escape(code)}</pre>")) if token.type == "fence"]
    assert [fence.content for fence in fences] == [f"{code}\n"]


CELLS = [
    "4.2 m",
    "<p>4.2</p><p>m</p>",
    "<a href='/x'>4.2 m</a>",
    "4.2<br>m",
    "<div>4.2 <b>m</b></div>",
    "<ul><li>4.2 m</li></ul>",
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("head", ["th", "td"])
def test_a_row_of_a_table_is_a_line_whatever_its_cells_hold(cell, head):
    names = "".join(f"<{head}>{name}</{head}>" for name in ("City", "Level", "Seen"))
    rows = "".join(f"<tr><td>Bonn {n}</td><td>{cell}</td><td>{n}</td></tr>" for n in range(5))
    lines = markdown(f"<table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>").split("\n")
    assert lines[:2] == ["| City | Level | Seen |", "| --- | --- | --- |"]
    assert lines[2:] == [f"| Bonn {n} | 4.2 m | {n} |" for n in range(5)]
    assert read("\n".join(lines)).count("tr_open") == 6


def test_cells_that_span_leave_the_columns_in_place():
    page = (
        "<table><caption>Levels</caption><tr><th>City<th>Day<th>Level</tr><tr><td rowspan=2>Bonn<td>1<td>4.2</tr>"
        "<tr><td>2<td>4|3</tr><tr><td colspan=2>all<td>4.4</tr></table>"
    )
    assert markdown(page) == (
        "Levels\n\n| City | Day | Level |\n| --- | --- | --- |\n| Bonn | 1 | 4.2 |\n|  | 2 | 4\\|3 |\n| all |  | 4.4 |"
    )


def test_a_table_that_lays_out_a_page_is_none():
    page = "<table><tr><td><h2>North</h2><p>One.</p></td><td><h2>South</h2><p>Two.</p></td></tr></table>"
    assert markdown(page) == "## North\n\nOne.\n\n## South\n\nTwo."


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_is_there_once_as_latex(encoding, formula):
    line = markdown(f"<p>They say {encoded_formula(formula, encoding)} holds.</p>")
    expected = f"They say ${formula}$ holds."
    assert difflib.SequenceMatcher(None, line, expected).ratio() >= 0.9
    assert line.count("$") == 2 and "?" not in line


def test_pages_without_prose_around_and_other_extractors_have_structure_too():
    html = "<html><body><h2>Lamps</h2><ul><li>oil</li></ul><script>if (a < b) { '<table>' }</script></body></html>"
    assert extract_page(html, "all_text", "markdown").text == "## Lamps\n\n- oil"
    article = f"<html><body><article><h2>Lamps</h2>{STORY}<pre>a\n  b</pre></article></body></html>"
    text = extract_page(article, "main_content", "markdown").text
    assert "## Lamps\n" in text and "```\na\n  b\n```" in text


TAGS = [
    "ul",
    "ol",
    "li",
    "blockquote",
    "dl",
    "dd",
    "table",
    "tr",
    "td",
    "pre",
    "code",
    "h2",
    "sup",
    "div",
    "p",
    "br",
    "b",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS] + ["word "]), max_size=40))
def test_no_markup_costs_a_word_in_whatever_order_it_stands(parts):
    html = f"<html><body>{''.join(parts)}</body></html>"
    words = re.findall("word", extract_page(html, "all_text", "markdown").text)
    assert len(words) == html.count("word")


@pytest.mark.parametrize("tag", ["ul><li", "blockquote", "table><tr><td", "div", "code", "dl><dd", "pre><b"])
def test_nesting_is_no_recursion_and_indents_within_limits(tag):
    opening, depth = f"<{tag}>", 900
    text = extract_page(f"<html><body>{opening * depth}deep inside</body></html>", "all_text", "markdown").text
    assert "deep inside" in text and len(text) < 100_000
