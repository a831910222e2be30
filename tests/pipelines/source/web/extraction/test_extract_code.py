"""Code on a page is extracted whole, with any names of a highlighter for its tokens, lines and blocks."""

import re
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.source.web.extraction.extract import extract

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
STORY = f"<p>{SENTENCE * 4}</p>" * 4
CODE = (
    "# light the lamps\n@lamp.command()\ndef light(count: int) -> str:\n"
    '    """Light them."""\n    return "<ul>" * count  # one each\n'
)
WORDS = [
    "comment",
    "tag",
    "meta",
    "nav",
    "share",
    "social",
    "sidebar",
    "footer",
    "related",
    "author",
    "banner",
    "menu",
    "hidden",
    "skip",
    "ad",
    "ads",
    "promo",
    "label",
    "box",
    "link",
    "date",
    "caption",
    "button",
    "form",
    "toolbar",
    "pager",
    "print",
    "cookie",
    "copyright",
    "widget",
    "info",
    "options",
    "icon",
    "embed",
    "category",
    "title",
]
"""Names that are boilerplate's outside of code."""
HIGHLIGHTERS = {
    "Prism": ("token {}", "<pre class='language-py'><code class='language-py'>{}</code></pre>"),
    "Prism with a toolbar": (
        "token {}",
        "<div class='code-toolbar'><pre class='language-py'><code>{}</code></pre></div>",
    ),
    "highlight.js": ("hljs-{}", "<pre><code class='hljs python'>{}</code></pre>"),
    "Pygments": ("{} c1", "<div class='highlight'><pre><span></span>{}</pre></div>"),
    "Shiki": ("line {}", "<pre class='shiki' style='background:#fff'><code>{}</code></pre>"),
    "Chroma": ("{} cl", "<div class='highlight'><pre class='chroma'><code>{}</code></pre></div>"),
    "Rouge": ("{} nt", "<div class='language-py highlighter-rouge'><div class='highlight'><pre>{}</pre></div></div>"),
    "GitHub": ("pl-{}", "<div class='highlight highlight-source-py'><pre>{}</pre></div>"),
    "an embedded gist": ("pl-{}", "<div class='gist-embed widget'><pre>{}</pre></div>"),
    "an advert of a name": ("{}", "<div class='promo-box'><pre>{}</pre></div>"),
}


def page(inside: str) -> str:
    return f"<html><body><article><h1>Lamps</h1>{STORY}{inside}<p>{SENTENCE}</p></article></body></html>"


def tokens(code: str, names: list[str], style: str) -> str:
    """`code` with each run of characters that are not blank in a span, called by the `names` in turn."""
    parts = re.split(r"(\s+)", code)
    spans = (
        f"<span class='{style.format(names[n % len(names)])}'>{escape(part)}</span>" for n, part in enumerate(parts)
    )
    return "".join(span if part.strip() else part for span, part in zip(spans, parts, strict=True))


@pytest.mark.parametrize("name", HIGHLIGHTERS)
@pytest.mark.parametrize("word", WORDS)
def test_nothing_that_a_highlighter_marks_is_boilerplate(name, word):
    style, block = HIGHLIGHTERS[name]
    text, _ = extract(page(block.format(tokens(CODE, [word], style))), "cascade")
    assert CODE.strip() in text


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5),
    st.sampled_from(list(HIGHLIGHTERS.values())),
    st.lists(
        st.text("ab<>&@#(){}:;=.\"' ", min_size=1, max_size=30).map(str.rstrip).filter(bool), min_size=1, max_size=8
    ),
    st.booleans(),
)
def test_any_code_under_any_names_comes_out_line_by_line(names, highlighter, lines, linked):
    style, block = highlighter
    code = "\n".join([f"x{line}" for line in lines])
    marked = tokens(code, names, style)
    if linked:
        marked = marked.replace("<span", "<a href='/name'><span").replace("</span>", "</span></a>")
    text, _ = extract(page(block.format(marked)), "cascade")
    assert code in text


EDITORS = {
    "CodeMirror 5": (
        "<div class='CodeMirror'><div class='CodeMirror-code'>{}</div></div>",
        "<div style='position:relative'><pre class='CodeMirror-line'><span class='cm-tag'>{}</span></pre></div>",
    ),
    "CodeMirror 6": (
        "<div class='cm-editor'><div class='cm-content' role='textbox'>{}</div></div>",
        "<div class='cm-line'><span class='tok-comment'>{}</span></div>",
    ),
    "Ace": (
        "<div class='ace_editor'><div class='ace_layer ace_text-layer'>{}</div></div>",
        "<div class='ace_line'><span class='ace_comment'>{}</span></div>",
    ),
    "Monaco": (
        "<div class='monaco-editor'><div class='view-lines'>{}</div></div>",
        "<div class='view-line'><span class='meta tag'>{}</span></div>",
    ),
    "GitHub's blob": (
        "<div class='blob-wrapper'><table class='highlight js-file-line-container'>{}</table></div>",
        "<tr><td class='blob-num'></td><td class='blob-code'><span class='pl-comment'>{}</span></td></tr>",
    ),
}


@pytest.mark.parametrize("extractor", ["cascade", "all_text"])
@pytest.mark.parametrize("editor", EDITORS)
def test_the_lines_of_an_editor_keep_their_text_and_indentation(editor, extractor):
    around, line = EDITORS[editor]
    lines = "".join(line.format(escape(each)) for each in CODE.strip().split("\n"))
    assert CODE.strip() in extract(page(around.format(lines)), extractor)[0]


@pytest.mark.parametrize("extractor", ["cascade", "all_text"])
@pytest.mark.parametrize("blank", ["", "    ", "\t"])
def test_blank_lines_of_code_are_as_many_as_before(blank, extractor):
    code = f"import lamp\n{blank}\n{blank}\ndef light():\n    pass\n{blank}\n{blank}\nlight()"
    text, _ = extract(page(f"<pre><code>{code}</code></pre>"), extractor)
    assert "import lamp\n\n\ndef light():\n    pass\n\n\nlight()" in text


def test_short_last_lines_of_code_are_no_buttons():
    code = "a = 1\nfor b in c\n  d\nend"
    html = f"<html><body><article>{STORY}<p><code>{code}</code></p></article></body></html>"
    assert extract(html, "cascade")[0].endswith("end")


def listing(number: int) -> str:
    return f"<pre>for lamp in range({number}):\n    light(lamp)</pre>"


@pytest.mark.parametrize("name", ["cell box", "meta", "tab-panel", "output_prompt_box", "share"])
@pytest.mark.parametrize("num_listings", [1, 2, 5])
def test_a_block_of_any_name_that_consists_of_listings_stays(name, num_listings):
    """Cells of notebooks, tabs of commands: none of the listings is half of the block, all of them are most of it."""
    listings = "".join(f"<div>[{number}]: {listing(number)}</div>" for number in range(num_listings))
    html = f"<html><body><article>{STORY}<div class='{name}'>{listings}</div>{STORY}</article></body></html>"
    text, _ = extract(html, "cascade")
    for number in range(num_listings):
        assert f"for lamp in range({number}):\n    light(lamp)" in text
