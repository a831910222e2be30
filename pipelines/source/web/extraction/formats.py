"""A parsed page as text: plain, as resiliparse lays it out, or Markdown."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from pipelines.source.document_sink import TextFormat
from pipelines.source.web.extraction.dom import open_figures, remove_all
from pipelines.source.web.extraction.markdown.writer import markdown
from pipelines.source.web.extraction.text import tidy

_SCRIPTS = "script,style,textarea,xmp"
"""Elements whose content is no markup, and would be read as such."""


class Format(NamedTuple):
    """Conversion of trees to text, and trafilatura's name of the format."""

    part: Callable[[HTMLTree], str]
    """All that is left of a pruned page."""
    main_content: Callable[[HTMLTree], str]
    """resiliparse's main content of a page."""
    all_text: Callable[[HTMLTree], str]
    """All text of a page."""
    of_trafilatura: str
    has_captions: bool
    """Whether captions of figures belong to the text."""
    whole_lines: tuple[str, ...]
    """Beginning of a line that is complete even if it is short: marks of lists, tables and similar elements."""


def _plain(tree: HTMLTree) -> str:
    return tidy(extract_plain_text(tree, preserve_formatting=True, alt_texts=False))


def _plain_main_content(tree: HTMLTree) -> str:
    _open_figures(tree)
    return tidy(
        extract_plain_text(
            tree, preserve_formatting=True, main_content=True, alt_texts=False, comments=False, post_meta=False
        )
    )


def _plain_all_text(tree: HTMLTree) -> str:
    _open_figures(tree)
    return tidy(extract_plain_text(tree, preserve_formatting=True, alt_texts=False, comments=True, post_meta=True))


def _open_figures(tree: HTMLTree) -> None:
    if tree.body is not None:
        open_figures(tree.body)


def _markdown(tree: HTMLTree) -> str:
    if tree.body is None:
        return ""
    remove_all(tree.body, _SCRIPTS)
    return tidy(markdown(tree.body))


def _markdown_main_content(tree: HTMLTree) -> str:
    """Headings, lists and listings of resiliparse's main content: all of the structure that it keeps."""
    html = extract_plain_text(
        tree, preserve_formatting="minimal_html", main_content=True, alt_texts=False, comments=False, post_meta=False
    )
    return _markdown(HTMLTree.parse(html))


FORMATS: Mapping[TextFormat, Format] = {
    "text": Format(_plain, _plain_main_content, _plain_all_text, "txt", False, ("•", *"123456789")),
    "markdown": Format(
        _markdown, _markdown_main_content, _markdown, "markdown", True, ("- ", "|", ">", "`", ":", *"123456789")
    ),
}
