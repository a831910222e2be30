"""Code on a page: its elements, and the preservation of its lines and blank lines through text extraction.

Highlighters and editors print lines as rows, items, blocks or spans, and their numbers beside them. Here every listing
becomes a `pre` with a text of whole lines and without numbers.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from resiliparse.parse.html import ElementNode, HTMLTree, Node

from pipelines.source.web.extraction.dom import inked, new_element, new_text, remove_all
from pipelines.source.web.extraction.markup import Markup

LITERAL_TAGS = ("xmp", "listing", "plaintext")
"""Elements of old HTML that a browser prints as they are written."""
CODE_TAGS = frozenset({"pre", "code", "samp", "kbd", "tt", *LITERAL_TAGS})
CODE_NAMES = frozenset(
    [
        *("highlight", "CodeMirror", "cm-editor", "cm-content", "ace_editor", "monaco-editor", "blob-code"),
        *("syntaxhighlighter", "crayon-syntax"),
    ]
)
"""Class names of highlighters and editors that use none of CODE_TAGS."""
CODE = ",".join((*sorted(CODE_TAGS), *(f".{name}" for name in sorted(CODE_NAMES))))
"""Elements that hold code."""
MIN_CODE_SHARE = 0.5
"""Share of a block's text that is code from which the block is a listing."""
FIRST_LINE = "li.li1:first-child:has(> .de1)"
"""The first item of a list that GeSHi writes."""
BLANK_LINE = "\ufdd0"
"""Marks a blank line that text extraction must not treat as white space; a noncharacter of Unicode."""

_LINES = {
    "div.cm-content": ".cm-line",
    "div.CodeMirror-code": ".CodeMirror-line",
    "div.ace_text-layer": ".ace_line",
    "div.view-lines": ".view-line",
    "table.js-file-line-container": ".blob-code",
    "table.highlight": ".blob-code",
    "table.diff-table": ".blob-code",
    "table.d2h-diff-table": ".d2h-code-line",
    "table.code": "tr:has(> th[id^=L]) > td",
    "div.code-view": "td.lines-code",
    "div.crayon-pre": ".crayon-line",
    "div.react-code-lines": ".react-code-line-contents",
    "div.enlighter-default": ".enlighter > div",
    "div[class^=syntaxhighlighter]": ".code .line",
    "div[class=fragment]": ".line",
}
"""Elements of editors, highlighters and viewers that print each line in a separate block, and those blocks; among
them those of CodeMirror, Ace, Monaco, GitHub, diff2html, Trac, Gitea, SyntaxHighlighter and Doxygen."""
_DIVISIONS = ",".join(editor for editor in _LINES if editor.startswith("div."))
_OTHERS = ",".join(editor for editor in _LINES if not editor.startswith("div."))
EDITORS = f"div[class*='-']:is({_DIVISIONS}),{_OTHERS}"
"""These elements; the hyphen in most of their class names rules most others out by one test."""
_EDITOR_NAMES = frozenset(re.split(r"[.=\]]", editor)[1].lower() for editor in _LINES)
MAX_TEXT_READS = 20
"""Times that the text of a page is read to find the numbers of lines: they nest no deeper."""
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_CONTROLS = "button,script,style,svg,select,textarea"
_NUMBERS = ",".join(
    (
        *("[class*=lineno i]", "[class*=line-n i]", "[class*=line_n i]", "[class*=linenumber i]", "[class*=gutter i]"),
        "[class*=linenr i]",
        *("[class*=blob-num i]", "[class*=hljs-ln-n]", "td.ln", "span.ln", "a.ln", "div.ln", ".lnt"),
    )
)
"""Elements that may hold nothing but the numbers of lines."""
MAX_DIGITS = 9
"""Digits of the number of a line that are read."""
MAX_NODES_BEFORE = 12
"""Nodes before the number of a line that are looked at: other numbers, and the elements around them."""
_IN_LINES = frozenset({"span", "a", "b", "i", "em", "strong", "small", "code", "data", "button", "label"})
"""Elements in which a number may be a value in code; others are columns beside it."""
_ONLY_NUMBERS = re.compile(r"[\s\d.:|]*")
_AROUND_CODE = f"{CODE},div:has(> pre),tr:has(pre,code),figure:has(pre),[class*=code i],[class*=highlight i]"
_ROWS = "tr,li,div,p," + ",".join(
    f"[style*='display:{blank}{kind}' i]" for blank in ("", " ") for kind in ("block", "flex")
)
"""Elements inside a listing that start a line."""
_BLOCKS = "pre,p,div,ul,ol,table,article,section,h1,h2,h3,h4"
_SPANS = "span:is(.line,[class*=code-line i],[class*=token-line i],[data-line])"
"""Spans that style sheets turn into lines."""


_LINE_OR_LISTING = f"pre,td,th,table,{_ROWS},{_SPANS}"


def code_in(page: Markup) -> list[int]:
    """The elements below the body of a page that hold code, in its order."""
    called = {each for each, (names, _) in page.names.items() if names and not CODE_NAMES.isdisjoint(names.split())}
    tagged = page.elements(CODE_TAGS)
    if not called:
        return tagged
    return sorted({*tagged, *(index for index, each in enumerate(page.attributes) if index and each in called)})


def lines_of_code(page: Markup) -> set[str]:
    """The lines of a page that are in elements of code, without the blanks around them."""
    return {line.strip() for listing in code_in(page) for line in page.text(listing).splitlines()}


def may_be_editor(element: ElementNode) -> bool:
    """Whether the class names of an element allow that it is one of EDITORS."""
    return not _EDITOR_NAMES.isdisjoint((element.class_name or "").lower().split())


def write_editors(tree: HTMLTree, body: ElementNode) -> None:
    """Put the lines that editors print in `pre`."""
    for editor, line in _LINES.items():
        for editor_element in body.query_selector_all(f"{editor}:has({line})").values():
            _remove_numbers(editor_element, "*")
            lines = [each.text or "" for each in editor_element.query_selector_all(line).values()]
            editor_element.replace_with(_listing(tree, [each.rstrip("\n\u200b") for each in lines]))


def write_numbered(tree: HTMLTree, first_lines: Sequence[ElementNode]) -> None:
    """Put the lists whose items are lines of code, the first of each of them FIRST_LINE, in `pre`."""
    for first in first_lines:
        numbered = first.parent_element
        if numbered is not None and first.closest("pre") is None:
            lines = numbered.query_selector_all("li").values()
            numbered.replace_with(_listing(tree, [(line.text or "").strip("\n") for line in lines]))


def write_literal(tree: HTMLTree, elements: Sequence[ElementNode]) -> None:
    """Put the text of elements that a browser prints as it is written in `pre`, if it has lines and no blocks."""
    for element in elements:
        if element.closest("pre") is not None or (element.tag not in LITERAL_TAGS and element.query_selector(_BLOCKS)):
            continue
        _remove_numbers(element, "*")
        for line_break in element.query_selector_all("br").values():
            line_break.replace_with(new_text(tree, "\n"))
        lines = _lines(element) or (element.text or "").split("\n")
        if len(lines) > 1 and inked("".join(lines)) == inked(element.text or ""):
            element.replace_with(_listing(tree, lines))


def write_listings(tree: HTMLTree, body: ElementNode, listings: Sequence[ElementNode]) -> None:
    """Give every `pre` of a page a text of lines, marked where they are blank, and leave out the numbers of lines."""
    _remove_numbers(body, _AROUND_CODE)
    outermost: list[ElementNode] = []
    for listing in listings:
        # In the order of the page, descendants follow their element.
        if not outermost or not outermost[-1].contains(listing):
            outermost.append(listing)
    for listing in outermost:
        remove_all(listing, _CONTROLS)
        for line_break in listing.query_selector_all("br").values():
            line_break.replace_with(new_text(tree, "\n"))
        lines = _lines(listing)
        if lines and inked("".join(lines)) == inked(listing.text or ""):
            _write_lines(tree, listing, lines)


def _remove_numbers(part: ElementNode, around: str) -> None:
    """Remove the numbers of lines that are inside an element which the selector `around` matches: columns of numbers,
    and those at the start of a line that are 1 or continue with the number before or after."""
    elements = part.query_selector_all(_NUMBERS).values()
    readable = MAX_TEXT_READS * len(part.text or "") if len(elements) else 0
    numbers: list[tuple[ElementNode, int]] = []
    for element in elements:
        text = element.text or ""
        readable -= len(text)
        if readable < 0:
            break
        if not _ONLY_NUMBERS.fullmatch(text) or element.closest(around) is None:
            continue
        if element.tag not in _IN_LINES or not text.strip():
            element.remove()
        elif (digits := text.strip(" \t\n.:|")).isdecimal() and _starts_line(element):
            numbers.append((element, int(digits[:MAX_DIGITS])))
    values = [-1, *(number for _, number in numbers), -1]
    for (element, number), before, after in zip(numbers, values, values[2:], strict=False):
        if number == 1 or before == number - 1 or after == number + 1:
            element.remove()


def _starts_line(element: ElementNode) -> bool:
    """Whether nothing but other numbers is before an element on its line."""
    node: Node = element
    for _ in range(MAX_NODES_BEFORE):
        before = node.previous_sibling
        if before is None:
            around = node.parent_element
            if around is None or around.matches(_LINE_OR_LISTING):
                return True
            node = around
            continue
        is_line = isinstance(before, ElementNode) and before.matches(f"br,{_LINE_OR_LISTING}")
        *lines, text = ((before.text if isinstance(before, ElementNode) else before.value) or "").split("\n")
        if is_line or not _ONLY_NUMBERS.fullmatch(text) or lines:
            return is_line or not text.strip()
        node = before
    return False


def _lines(listing: ElementNode) -> list[str]:
    """The lines of a `pre` that prints each in an element of its own, or has blank ones; none of another."""
    rows = list(listing.query_selector_all(_ROWS).values())
    # In the order of the page, descendants follow their element.
    rows = [row for row, after in pairwise(rows) if not row.contains(after)] + rows[-1:]
    text = listing.text or ""
    if not rows and "\n" not in text.strip():
        spans = list(listing.query_selector_all(_SPANS).values())
        rows = spans if len(spans) > 1 else []
    if not rows:
        return text.split("\n") if _BLANK_LINE.search(text) else []
    return [line for row in rows for line in (row.text or "").rstrip("\n").split("\n")]


def _write_lines(tree: HTMLTree, listing: ElementNode, lines: Sequence[str]) -> None:
    """Replace what is in a `pre` by these lines, inside its `code`, which names the language, if it has one."""
    inner = listing.query_selector_all("code")
    first = inner.item(0) if len(inner) == 1 else None
    block = first if first is not None and inked(first.text or "") == inked(listing.text or "") else listing
    block.replace_children(_text(tree, lines))


def _listing(tree: HTMLTree, lines: Sequence[str]) -> ElementNode:
    block = new_element(tree, "pre")
    block.append_child(_text(tree, lines))
    return block


def _text(tree: HTMLTree, lines: Sequence[str]) -> Node:
    # The first and the last line are next to the text around, which ends lines itself.
    marked = (
        line if line.strip() or number in (0, len(lines) - 1) else BLANK_LINE for number, line in enumerate(lines)
    )
    return new_text(tree, "\n".join(marked))
