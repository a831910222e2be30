"""The few pieces of HTML that the page is built from. Whatever comes in as text is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape
from string import Template
from typing import NewType

from pipelines.report.html.style import STYLE

Html = NewType("Html", str)


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
$body
</body>
</html>
""")


def page(title: str, body: Iterable[Html]) -> str:
    """A whole document that needs nothing from outside itself."""
    return PAGE.substitute(title=escape(title), style=STYLE, body="\n".join(body))


def element(name: str, *content: str | Html, css: str = "") -> Html:
    """An element around content that is HTML already; use `text` for anything else."""
    attribute = f' class="{css}"' if css else ""
    return Html(f"<{name}{attribute}>{''.join(content)}</{name}>")


def text(value: object) -> Html:
    return Html(escape(str(value)))


def section(anchor: str, title: str, lead: str, *content: Html) -> Html:
    """A headed part of the page with one sentence that says what is seen."""
    head = f'<h2 id="{escape(anchor)}">{escape(title)}</h2>'
    return Html("\n".join([head, element("p", text(lead), css="soft"), *content]))


def table(header: Sequence[str], rows: Iterable[Sequence[Html]], *, numbers: int = 0) -> Html:
    """A table whose last `numbers` columns are set to the right."""
    first_number = len(header) - numbers

    def cells(tag: str, values: Sequence[Html]) -> str:
        return "".join(
            element(tag, value, css="number" if column >= first_number else "") for column, value in enumerate(values)
        )

    head = element("tr", cells("th", [text(name) for name in header]))
    body = "".join(element("tr", cells("td", row)) for row in rows)
    return element("div", f"<table><thead>{head}</thead><tbody>{body}</tbody></table>", css="wide")


def figure(svg: str, caption: str) -> Html:
    return element("figure", svg, element("figcaption", text(caption)))


def counted(count: int, one: str, many: str) -> str:
    """ "1 phase", "3 phases"."""
    return f"{count:,} {one if count == 1 else many}"
