"""The few pieces of HTML that the page is built from. All text is escaped here."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template
from typing import NewType

from pipelines.report.html.style import STYLE

Html = NewType("Html", str)

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that HTML does not allow, and that no reader sees."""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>$style</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
$body
</body>
</html>
""")
"""The policy forbids scripts, frames and every address outside of the file, regardless of its text."""


def page(title: str, body: Iterable[Html]) -> str:
    """A whole document that needs nothing from outside itself."""
    return PAGE.substitute(title=text(title), style=STYLE, body="\n".join(body))


def element(name: str, *content: str | Html, css: str = "") -> Html:
    """An element around content that is HTML already; use `text` for anything else."""
    attribute = f' class="{css}"' if css else ""
    return Html(f"<{name}{attribute}>{''.join(content)}</{name}>")


def text(value: object) -> Html:
    """Escaped text, with a replacement character for each that HTML does not allow."""
    return Html(escape(CONTROL.sub("\ufffd", str(value))))


def foreign(name: str, value: object) -> Html:
    """An element around text of unknown origin: its direction of writing is its own, and ends with it."""
    return Html(f'<{name} dir="auto">{text(value)}</{name}>')


def section(anchor: str, title: str, lead: str, *content: Html) -> Html:
    """A headed part of the page with a one-sentence summary."""
    name = escape(anchor)
    head = f'<h2 id="{name}">{text(title)}</h2>'
    inside = "\n".join([head, element("p", text(lead), css="soft"), *content])
    return Html(f'<section aria-labelledby="{name}">\n{inside}\n</section>')


def table(header: Sequence[str], rows: Iterable[Sequence[Html]], *, numbers: int = 0) -> Html:
    """A table whose last `numbers` columns are set to the right. A narrow screen shows each row as a card, whose cells
    are named by the header; the roles keep it a table for those who hear it."""
    first_number = len(header) - numbers

    def css(column: int) -> str:
        return ' class="number"' if column >= first_number else ""

    head = "".join(
        f'<th role="columnheader" scope="col"{css(column)}>{text(name)}</th>' for column, name in enumerate(header)
    )
    body = "".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-label="{text(header[column])}"{css(column)}>{value}</td>'
            for column, value in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return Html(
        f'<table role="table"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def bar(fraction: float, label: str) -> Html:
    """`label` next to a bar that is `fraction` of the column long."""
    width = f"{100 * min(max(fraction, 0.0), 1.0):.1f}%"
    return Html(
        f'<span class="bar" aria-hidden="true"><i style="width:{width}"></i></span>{element("span", text(label))}'
    )


def fields(values: Mapping[str, Html]) -> Html:
    """Names with their values, as a grid of tiles."""
    tiles = (
        element("div", element("dt", text(name)), element("dd", value), css="tile") for name, value in values.items()
    )
    return Html(f'<dl class="tiles">{"".join(tiles)}</dl>')


def folded(summary: Html, *content: Html) -> Html:
    """Content that opens by a click or a key."""
    return element("details", element("summary", summary), *content)


def figure(svg: str, caption: str) -> Html:
    return element("figure", svg, element("figcaption", text(caption)))


def grid(figures: Iterable[Html]) -> Html:
    """Figures side by side, as the width allows."""
    return element("div", *figures, css="figures")


def counted(count: int, one: str, many: str) -> str:
    """ "1 phase", "3 phases"."""
    return f"{count:,} {one if count == 1 else many}"
