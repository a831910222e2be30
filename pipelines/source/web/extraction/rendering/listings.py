"""Listings of code: their lines, and in Markdown the fence and the language, by the names that highlighters use."""

import re
from collections.abc import Iterable

from pipelines.source.web.extraction.markup import attribute

_LANGUAGE = re.compile(
    r"(?:^|\s)(?:(?:language|lang|highlight-source|highlight-text|highlight|src|syntax|code)[-:]|"
    r"(?:brush:|sourceCode|hljs)\s+)\s*([a-zA-Z][\w+#.-]*)"
)
"""In class names: of the HTML standard and Prism, Stack Overflow, GitHub, Sphinx, SyntaxHighlighter and MDN, Pandoc,
highlight.js, Org, and others."""
_NO_LANGUAGE = frozenset(
    [
        *("none", "plain", "plaintext", "text", "txt", "default", "auto", "nohighlight", "highlight", "notranslate"),
        *("block", "wrapper", "box", "example", "container", "toolbar", "snippet", "numbers", "line-numbers"),
        *("language", "sample"),
    ]
)
_TICKS = re.compile("`+")


def language(attributes: Iterable[str]) -> str:
    """The language that the attributes of a listing, or of the elements around it, state first; "" if none does."""
    for each in attributes:
        for name in ("data-lang", "data-language"):
            if stated := attribute(each, name):
                return stated.lower()
        for name in _LANGUAGE.findall(attribute(each, "class")):
            if name.lower() not in _NO_LANGUAGE:
                return str(name).lower()
    return ""


def lines_of(code: str) -> list[str]:
    """The lines of a listing; none if it is empty or consists of line numbers alone."""
    code = code.rstrip("\n").removeprefix("\n") if code.strip() else ""
    lines = code.split("\n")
    return [] if not code or _is_numbering(lines) else lines


def fenced(lines: list[str], stated_language: str) -> list[str]:
    """The lines of a listing with its fence."""
    longest = max((len(ticks) for line in lines for ticks in _TICKS.findall(line)), default=0)
    ticks = "`" * max(3, 1 + longest)
    return [f"{ticks}{stated_language}", *lines, ticks]


def inline(code: str) -> str:
    """Code in a line of text; "" if there is none."""
    code = " ".join(code.split())
    if not code:
        return ""
    ticks = "`" * (1 + max(map(len, _TICKS.findall(code)), default=0))
    pad = " " if code.startswith("`") or code.endswith("`") else ""
    return f"{ticks}{pad}{code}{pad}{ticks}"


def _is_numbering(lines: list[str]) -> bool:
    numbers = [line.strip() for line in lines if line.strip()]
    if len(numbers) < 2 or not all(map(str.isdecimal, numbers)):
        return False
    first = int(numbers[0])
    return [int(number) for number in numbers] == list(range(first, first + len(numbers)))
