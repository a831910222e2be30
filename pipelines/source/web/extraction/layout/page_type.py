"""The type of a page, from features of its head, its address, its markup and its text.

A multinomial logistic regression over some sixty counts and marks, all of which cost one look at the page's main part.
Its weights are in page_types.json; benchmarks/page_types.py fits them, and measures how often they are right.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from pipelines.source.web.extraction.markup import Markup

PAGE_TYPES = ("article", "collection", "documentation", "forum", "listing", "product", "service")
WEIGHTS = Path(__file__).with_name("page_types.json")

_TAGS = (
    *("a", "article", "blockquote", "code", "dt", "form", "h2", "h3", "h4", "img", "input", "li", "p", "pre"),
    *("section", "table", "td", "time"),
)
_SCHEMA_TYPE = re.compile(r'"@type"\s*:\s*(?:\[\s*)?"(?:https?:\\?/\\?/schema\.org\\?/)?(\w+)"')
_OPEN_GRAPH_TYPE = re.compile(r"""<meta[^<>]*\bog:type["'][^<>]*""", re.IGNORECASE)
_CONTENT = re.compile(r"""\bcontent\s*=\s*["']?([\w:.]+)""", re.IGNORECASE)
_ADDRESS = re.compile(r"""<(?:link[^<>]*\brel=["']?canonical|meta[^<>]*\bog:url)\b[^<>]*""", re.IGNORECASE)
_PATH = re.compile(r"""\b(?:href|content)\s*=\s*["']?(?:https?:)?//[^\s"'<>/]+/?([^\s"'<>?#]*)""", re.IGNORECASE)
_WORD = re.compile(r"[a-z]{2,}")
_LONG_NUMBER = re.compile(r"\d{4}")
_SENTENCE = re.compile(r"[.!?]\s")
_DECADES = ("200", "201", "202")
_SCHEMAS = {
    "article": "Article NewsArticle BlogPosting Person ReportageNewsArticle TechArticle",
    "product": "Product Offer AggregateOffer ProductGroup SoftwareApplication",
    "forum": "DiscussionForumPosting QAPage Question Answer Comment",
    "list": "ItemList CollectionPage ListItem SearchResultsPage",
    "service": "LocalBusiness Service ContactPoint PostalAddress FAQPage",
}
_PATH_WORDS = {
    "docs": "docs documentation reference api manual guide wiki learn library",
    "product": "product products dp app item itm ip pd",
    "forum": "forum forums thread threads questions topic community discussion viewtopic showthread comments",
    "article": "blog news article articles post posts story stories",
    "service": "services service programs solutions about pricing features",
    "collection": "collections collection category categories shop browse cat",
    "list": "list lists tag tags topics jobs events search top",
}
_OF_SCHEMA = {schema: name for name, schemas in _SCHEMAS.items() for schema in schemas.split()}
_OF_PATH_WORD = {word: name for name, words in _PATH_WORDS.items() for word in words.split()}


def page_type(html: str, main: Markup, text: str, characters: int, shares: Sequence[float]) -> str:
    """One of PAGE_TYPES, for a page with this main part, of `text` and so many `characters` that are not blank;
    `shares` as in `features`."""
    bias, weights = _model()
    scores = list(bias)
    for name, value in features(html, main, text, characters, shares):
        for number, weight in enumerate(weights.get(name, ())):
            scores[number] += weight * value
    return PAGE_TYPES[scores.index(max(scores))]


def features(
    html: str, main: Markup, text: str, characters: int, shares: Sequence[float]
) -> Iterator[tuple[str, float]]:
    """Names and values of all that is not 0. `shares`: of the page outside of navigation, and of the main part in
    that."""
    yield from (("outside navigation", shares[0]), ("main", shares[1]))
    yield from _of_head(html)
    counts = Counter(main.tags)
    for name in _TAGS:
        if count := counts[name]:
            yield f"<{name}>", math.log1p(count)
    yield from _of_text(text, characters)


def _of_head(html: str) -> Iterator[tuple[str, float]]:
    for name in sorted({_OF_SCHEMA[each] for each in _schema_types(html) if each in _OF_SCHEMA}):
        yield f"schema.org {name}", 1
    end = html.find("</head")
    head = html if end < 0 else html[:end]
    kind = _OPEN_GRAPH_TYPE.search(head)
    if kind and (content := _CONTENT.search(kind[0])):
        yield f"og:{content[1].lower().partition(':')[2] or content[1].lower()}", 1
    address = _ADDRESS.search(head)
    path = _PATH.search(address[0]) if address else None
    if path:
        yield from _of_path(path[1].strip("/"))
    else:
        yield "no address", 1


def _schema_types(html: str) -> Iterator[str]:
    # A single character is searched for several times as fast as a pattern that starts with it.
    place = html.find("@")
    while place >= 0:
        if match := _SCHEMA_TYPE.match(html, place - 1):
            yield match[1]
        place = html.find("@", place + 1)


def _of_path(path: str) -> Iterator[tuple[str, float]]:
    parts = path.split("/")
    yield ("depth", math.log1p(len(parts))) if path else ("home", 1)
    yield "words in the address", math.log1p(max(part.count("-") for part in parts))
    yield "number in the address", float(_LONG_NUMBER.search(path) is not None)
    for name in sorted({_OF_PATH_WORD[word] for word in _WORD.findall(path.lower()) if word in _OF_PATH_WORD}):
        yield f"/{name}/", 1


def _of_text(text: str, characters: int) -> Iterator[tuple[str, float]]:
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    long_lines = sum(len(line) for line in lines if len(line) >= 80)
    yield "characters", math.log1p(characters)
    yield "in long lines", long_lines / (characters + 1)
    yield "characters a line", math.log1p(characters / (len(lines) + 1))
    yield "prices", math.log1p(sum(map(text.count, "$€£¥")))
    yield "years", math.log1p(sum(map(text.count, _DECADES)))
    yield "questions", math.log1p(text.count("?"))
    yield "sentences", math.log1p(len(_SENTENCE.findall(text)))


@cache
def _model() -> tuple[list[float], Mapping[str, list[float]]]:
    model = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return model["bias"], model["weights"]
