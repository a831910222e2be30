"""Lines of code keep their order, indentation and blank lines, and lose their numbers, however a page prints them."""

from html import escape

import pytest

from pipelines.source.web.extraction.extract import extract_page

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
STORY = f"<p>{SENTENCE * 4}</p>" * 4
LINES = [
    "import lamp  # two blanks",
    "",
    "",
    "@menu",
    "def share(nav):",
    '    """Related."""',
    "    if nav:",
    "        return 1 & 2",
    "",
    "    return 2",
    "1234",
]
MARKED = [escape(line).replace("share", "<span class='token comment'>share</span>") for line in LINES]
NUMBERED = [*enumerate(MARKED, start=1)]
TEXT = "\n".join(MARKED)
NUMBERS = "\n".join(str(number) for number, _ in NUMBERED)


def each(line: str, between: str = "") -> str:
    return between.join(line.format(number=number, line=code) for number, code in NUMBERED)


LISTINGS = {
    "Pygments, table": "<table class='highlighttable'><tr><td class='linenos'><div class='linenodiv'><pre>"
    f"{NUMBERS}</pre></div></td><td class='code'><div class='highlight'><pre>{TEXT}\n</pre></div></td></tr></table>",
    "Pygments, inline": "<div class='highlight'><pre>"
    + each("<span class='linenos'>{number} </span>{line}", "\n")
    + "</pre></div>",
    "Chroma, table": "<div class='highlight'><table class='lntable'><tr><td class='lntd'><pre class='chroma'><code>"
    + each("<span class='lnt'>{number}\n</span>")
    + "</code></pre></td><td class='lntd'><pre class='chroma'><code>"
    + each("<span class='line'><span class='cl'>{line}\n</span></span>")
    + "</code></pre></td></tr></table></div>",
    "Chroma, inline": "<div class='highlight'><pre><code>"
    + each("<span class='line'><span class='ln'>{number}</span><span class='cl'>{line}\n</span></span>")
    + "</code></pre></div>",
    "Rouge": "<div class='highlight'><pre class='highlight'><code><table class='rouge-table'><tr><td class='gutter gl'>"
    f"<pre class='lineno'>{NUMBERS}\n</pre></td><td class='code'><pre>{TEXT}\n</pre></td></tr></table></code></pre>"
    "</div>",
    "Hexo": "<figure class='highlight'><table><tr><td class='gutter'><pre>"
    + each("<span class='line'>{number}</span><br>")
    + "</pre></td><td class='code'><pre>"
    + each("<span class='line'>{line}</span><br>")
    + "</pre></td></tr></table></figure>",
    "highlight.js, numbered": "<pre><code class='hljs'><table class='hljs-ln'>"
    + each(
        "<tr><td class='hljs-ln-line hljs-ln-numbers' data-line-number='{number}'><div class='hljs-ln-n'></div></td>"
        "<td class='hljs-ln-line hljs-ln-code'>{line}</td></tr>"
    )
    + "</table></code></pre>",
    "Prettify": f"<pre class='prettyprint'><ol class='linenums'>{each('<li><code>{line}</code></li>')}</ol></pre>",
    "GeSHi": f"<pre><ol>{each('<li class=li1><div class=de1>{line}</div></li>')}</ol></pre>",
    "Torchlight": "<pre><code class='torchlight'>"
    + each("<div class='line'><span class='line-number'>{number}</span><span>{line}</span></div>")
    + "</code></pre>",
    "Expressive Code": "<pre><code>"
    + each(
        "<div class='ec-line'><div class='gutter'><div class='ln'>{number}</div></div><div class='code'>{line}</div>"
        "</div>"
    )
    + "</code></pre>",
    "lines that styles make": f"<pre><code>{each('<span class=line>{line}</span>')}</code></pre>",
    "lines that a style makes": "<pre><code>" + each("<span style='display: block'>{line}</span>") + "</code></pre>",
    "SyntaxHighlighter": "<div class='syntaxhighlighter py'><table><tr><td class='gutter'>"
    + each("<div class='line number{number}'>{number}</div>")
    + "</td><td class='code'><div class='container'>"
    + each("<div class='line number{number}'><code>{line}</code></div>")
    + "</div></td></tr></table></div>",
    "Doxygen": "<div class='fragment'>"
    + each("<div class='line'><a id='l{number}'></a><span class='lineno'>{number}</span>{line}</div>")
    + "</div>",
    "EnlighterJS": "<div class='enlighter-default enlighter-linenumbers'><div class='enlighter'>"
    + each("<div><div><span>{line}</span></div></div>")
    + "</div></div>",
    "GitHub's viewer": "<div class='react-code-lines'>"
    + each(
        "<div class='react-line-row'><div class='react-line-number react-code-text'>{number}</div>"
        "<div class='react-code-text react-code-line-contents'><div>{line}</div></div></div>"
    )
    + "</div>",
    "CodeMirror 6": "<div class='cm-editor'><div class='cm-gutters'>"
    + each("<div class='cm-gutterElement'>{number}</div>")
    + f"</div><div class='cm-content'>{each('<div class=cm-line>{line}</div>')}</div></div>",
    "Ace": "<div class='ace_editor'><div class='ace_gutter'>"
    + each("<div class='ace_gutter-cell'>{number}</div>")
    + f"</div><div class='ace_layer ace_text-layer'>{each('<div class=ace_line>{line}</div>')}</div></div>",
    "GeSHi, in a block": "<div class='python geshifilter-python'><ol>"
    + each("<li class='li1'><div class='de1'>{line}</div></li>")
    + "</ol></div>",
    "lines that a style keeps": f"<div style='white-space:pre;font-family:monospace'>{TEXT}</div>",
    "lines that a style keeps and wraps": f"<div style='font:12px Courier;white-space: pre-wrap'>{TEXT}</div>",
    "listing": "<listing>" + "\n".join(LINES) + "</listing>",
    "xmp": "<xmp>" + "\n".join(LINES) + "</xmp>",
    "React Syntax Highlighter": "<pre><code class='language-py' style='white-space:pre'>"
    + each(
        "<span><span class='linenumber react-syntax-highlighter-line-number' style='display:inline-block'>{number}"
        "</span><span>{line}</span>\n</span>"
    )
    + "</code></pre>",
    "React Syntax Highlighter, in a block": "<div><code style='white-space:pre'>"
    + each("<span style='display:flex'><span class='linenumber'>{number}</span><span>{line}</span></span>")
    + "</code></div>",
    "VitePress": f"<div class='language-py'><pre><code>{each('<span class=line>{line}</span>', chr(10))}</code></pre>"
    + "<div class='line-numbers-wrapper' aria-hidden='true'>"
    + each("<span class='line-number'>{number}</span><br>")
    + "</div></div>",
    "Vim": "<pre>" + each("<span id='L{number}' class='LineNr'>{number} </span>{line}", "\n") + "</pre>",
    "Gitea": "<div class='file-view code-view'><table>"
    + each(
        "<tr><td class='lines-num'><span data-line-number='{number}'></span></td>"
        "<td class='lines-code chroma'><code class='code-inner'>{line}\n</code></td></tr>"
    )
    + "</table></div>",
    "Trac": "<table class='code'><thead><tr><th class='lineno'>Line</th><th></th></tr></thead><tbody>"
    + each("<tr><th id='L{number}'><a href='#L{number}'>{number}</a></th><td>{line}</td></tr>")
    + "</tbody></table>",
    "GitHub's older viewer": "<table class='highlight tab-size'>"
    + each(
        "<tr><td id='L{number}' class='blob-num' data-line-number='{number}'></td>"
        "<td class='blob-code blob-code-inner'>{line}</td></tr>"
    )
    + "</table>",
    "diff2html": "<table class='d2h-diff-table'>"
    + each(
        "<tr><td class='d2h-code-linenumber'><div class='line-num1'>{number}</div></td>"
        "<td><div class='d2h-code-line'><span class='d2h-code-line-ctn'>{line}</span></div></td></tr>"
    )
    + "</table>",
    "a note": f"<aside class='note'><p>See it here.</p><pre><code>{TEXT}</code></pre></aside>",
}


@pytest.mark.parametrize("text_format", ["text", "markdown"])
@pytest.mark.parametrize("extractor", ["cascade", "all_text"])
@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_comes_out_line_by_line_without_numbers(name, extractor, text_format):
    html = f"<html><body><article><h1>Lamps</h1>{STORY}{LISTINGS[name]}{STORY}</article></body></html>"

    text = extract_page(html, extractor, text_format).text

    assert "\n".join(LINES) in text
    assert [line for line in text.split("\n") if line.strip().isdecimal()] == ["1234"]


@pytest.mark.parametrize("text_format", ["text", "markdown"])
def test_numbers_that_are_no_lines_stay(text_format):
    html = (
        f"<html><body><article>{STORY}<pre>x = 1</pre><div class='row gutter-20'><b>1871</b></div>"
        f"<table><tr><th>Year</th></tr><tr><td>1872</td></tr></table>{STORY}</article></body></html>"
    )
    text = extract_page(html, "cascade", text_format).text
    assert "1871" in text and "1872" in text


def test_text_of_a_listing_that_no_line_holds_is_not_lost():
    html = f"<html><body><article>{STORY}<pre>begin\n<div>a = 1</div><div>b = 2</div>end</pre></article></body></html>"
    text = extract_page(html, "cascade").text
    assert [text.count(each) for each in ("begin", "a = 1", "b = 2", "end")] == [1, 1, 1, 1]


VALUES = {
    "an argument": ("log(<span class='ln'>10</span>)\nx = 2", "log(10)\nx = 2"),
    "a token": ("x = <span class='token number line-number'>3</span>\ny = 4", "x = 3\ny = 4"),
    "between words": ("a <span class='gutter'>42</span> b\nx", "a 42 b\nx"),
    "at the starts of lines": (
        "[\n<span class='ln'>10</span>,\n<span class='ln'>30</span>,\n<span class='ln'>20</span>]",
        "[\n10,\n30,\n20]",
    ),
    "behind the number of a line": (
        "<span class='ln'>1</span>f(<span class='ln'>2</span>)\n<span class='ln'>2</span>g(<span class='ln'>7</span>)",
        "f(2)\ng(7)",
    ),
    "of two columns": (
        "<span class='ln'>4</span> <span class='ln'>5</span> a\n<span class='ln'>5</span> <span class='ln'>6</span> b",
        "a\n",
    ),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("text_format", ["text", "markdown"])
def test_a_value_in_code_is_no_number_of_a_line(kind, text_format):
    code, lines = VALUES[kind]
    html = f"<html><body><article>{STORY}<pre><code>{code}</code></pre>{STORY}</article></body></html>"
    text = extract_page(html, "cascade", text_format).text
    assert lines in text and not any(f"{number} a" in text for number in (4, 5))
