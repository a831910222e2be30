"""A parsed page as text, plain or in Markdown."""

from collections.abc import Mapping
from typing import NamedTuple

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from pipelines.source.document_sink import TextFormat
from pipelines.source.web.extraction.dom import open_figures, remove_all
from pipelines.source.web.extraction.markup import Markup
from pipelines.source.web.extraction.rendering.styles import MARKDOWN, PLAIN, Style
from pipelines.source.web.extraction.rendering.writer import render
from pipelines.source.web.extraction.text import tidy

_SCRIPTS = "script,style,textarea,xmp"
"""Elements whose content is no markup, and would be read as such."""


class Format(NamedTuple):
    """How trees become text."""

    style: Style
    of_trafilatura: str
    """trafilatura's name of the format."""
    has_captions: bool
    """Whether captions of figures belong to the main part of a page."""

    def all_text(self, tree: HTMLTree) -> str:
        """All text of a tree."""
        if tree.body is None:
            return ""
        remove_all(tree.body, _SCRIPTS)
        return self.text(Markup(tree.body.html or ""))

    def text(self, page: Markup) -> str:
        """All text of a page's markup."""
        return tidy(render(page, self.style))

    def main_content(self, tree: HTMLTree) -> str:
        """resiliparse's main content of a page, with the structure that it keeps: headings, lists and listings."""
        if tree.body is not None:
            open_figures(tree.body)
        html = extract_plain_text(
            tree,
            preserve_formatting="minimal_html",
            main_content=True,
            alt_texts=False,
            comments=False,
            post_meta=False,
        )
        return self.all_text(HTMLTree.parse(html))


FORMATS: Mapping[TextFormat, Format] = {
    "text": Format(PLAIN, "txt", False),
    "markdown": Format(MARKDOWN, "markdown", True),
}
