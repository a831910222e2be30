"""The text that a page states for machines in JSON-LD: the only readable text if a script writes the page itself."""

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from resiliparse.parse.html import HTMLTree

from pipelines.source.web.extraction.formats import Format
from pipelines.source.web.extraction.text import prose

MIN_STATED_CHARACTERS = 200
"""A shorter text is a summary."""
MAX_COMMON_WORDS = 0.5
"""Share of the stated text's words from which the page's own text has them too."""
_JSON_LD = re.compile(
    r"""<script[^<>]*\bapplication/ld\+json\b[^<>]*>([^<]*+(?:<(?!/script)[^<]*+)*+)""", re.IGNORECASE
)
_WORD = re.compile(r"\w+")
_FIELDS = {
    "articleBody": frozenset({"Article", "NewsArticle", "BlogPosting", "ReportageNewsArticle", "TechArticle"}),
    "description": frozenset({"Product", "ProductGroup", "IndividualProduct", "JobPosting"}),
    "text": frozenset({"DiscussionForumPosting", "SocialMediaPosting", "Question", "Answer", "Comment"}),
}
"""Fields of schema.org that hold the text of a page, and the types which have them."""


def stated_instead(html: str, text: str, form: Format) -> str:
    """The text that a page states in JSON-LD if `text` has less prose and few of its words; "" otherwise."""
    stated = stated_besides(html, text, form)
    return stated if len(stated) >= prose(text) else ""


def stated_besides(html: str, text: str, form: Format) -> str:
    """The text that a page states in JSON-LD if `text` has few of its words; "" otherwise."""
    if "ld+json" not in html:
        return ""
    stated = "\n\n".join(dict.fromkeys(_plain(each, form) for each in _texts(html)))
    if len(stated) < MIN_STATED_CHARACTERS:
        return ""
    words = set(_WORD.findall(stated.lower()))
    common = words.intersection(_WORD.findall(text.lower()))
    return stated if len(common) < MAX_COMMON_WORDS * len(words) else ""


def _texts(html: str) -> Iterator[str]:
    for content in _JSON_LD.findall(html):
        try:
            stated = json.loads(content, strict=False)
        except (ValueError, RecursionError):
            continue
        yield from _texts_of(stated)


def _texts_of(stated: Any) -> Iterator[str]:
    """Texts of all things in a value of JSON, in its order."""
    waiting = [stated]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict):
            types = value.get("@type")
            named = {each for each in (types if isinstance(types, list) else [types]) if isinstance(each, str)}
            for field, having in _FIELDS.items():
                if named & having and isinstance(value.get(field), str):
                    yield value[field]
            waiting += reversed(value.values())


def _plain(stated: str, form: Format) -> str:
    """A stated text without the markup that it may have."""
    stated = unescape(stated)
    return form.all_text(HTMLTree.parse(stated)) if "<" in stated else stated.strip()
