"""Code on a page: its elements, and the preservation of its lines and blank lines through text extraction."""

import re
from typing import cast

from resiliparse.parse.html import ElementNode, HTMLTree, TextNode

from pipelines.source.web.extraction.dom import new_text

CODE = (
    "pre,code,samp,kbd,tt,xmp,.highlight,.CodeMirror,.cm-editor,.cm-content,.ace_editor,.monaco-editor,.blob-code,"
    ".syntaxhighlighter,.crayon-syntax"
)
"""Elements that hold code: HTML's own, and the class names of highlighters and editors that use none of them."""
BLANK_LINE = "\ufdd0"
"""Marks a blank line that text extraction must not treat as white space; a noncharacter of Unicode."""

_LINES = {
    "div.cm-content": ".cm-line",
    "div.CodeMirror-code": ".CodeMirror-line",
    "div.ace_text-layer": ".ace_line",
    "div.view-lines": ".view-line",
    "table.js-file-line-container": ".blob-code",
    "div.crayon-pre": ".crayon-line",
}
"""Elements of editors and viewers that print each line in a separate block, and those blocks."""
_DIVISIONS = ",".join(editor for editor in _LINES if editor.startswith("div"))
EDITORS = f"div[class*='-']:is({_DIVISIONS}),table.js-file-line-container"
"""These elements; the hyphen in all of their class names rules most others out by one test."""
_EDITOR_NAMES = frozenset(editor.partition(".")[2].lower() for editor in _LINES)
_BEFORE_BLANK_LINE = re.compile(r"\n(?=[ \t]*\n)")


def may_be_editor(element: ElementNode) -> bool:
    """Whether the class names of an element allow that it is one of EDITORS."""
    return not _EDITOR_NAMES.isdisjoint((element.class_name or "").lower().split())


def write_editors(tree: HTMLTree, body: ElementNode) -> None:
    """Put the lines that editors print in `pre`."""
    for editor, line in _LINES.items():
        for editor_element in body.query_selector_all(f"{editor}:has({line})").values():
            lines = (each.text or "" for each in editor_element.query_selector_all(line).values())
            editor_element.replace_with(_listing(tree, "\n".join(each.rstrip("\n\u200b") for each in lines)))


def mark_blank_lines(block: ElementNode) -> None:
    """Put BLANK_LINE on the blank lines of a `pre`."""
    if not _BEFORE_BLANK_LINE.search(block.text or ""):
        return
    for element in (block, *block.query_selector_all("*").values()):
        for node in element.child_nodes.values():
            if isinstance(node, TextNode):
                node.data = _BEFORE_BLANK_LINE.sub(f"\n{BLANK_LINE}", node.data or "")


def _listing(tree: HTMLTree, code: str) -> ElementNode:
    block = cast(ElementNode, tree.create_element("pre"))
    block.append_child(new_text(tree, code))
    return block
