"""The title of a page that sells or lists things: the text above it is a menu."""

from pipelines.source.web.extraction.markup import Markup
from pipelines.source.web.extraction.text import prose

_HEADING_MARK = "# "


def from_title(text: str, page: Markup) -> str:
    """`text`, plain or in Markdown, from the first line on that is an `h1` of `page`, if it has more prose below that
    line than above; all of it otherwise."""
    titles = {" ".join(page.text(heading).split()) for heading in page.elements(["h1"])} - {""}
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.removeprefix(_HEADING_MARK) in titles), 0)
    above, below = "\n".join(lines[:first]), "\n".join(lines[first:])
    return below if prose(above) < prose(below) else text
