"""HTML to text or Markdown: a pruned DOM for every page, trafilatura if pruning left little of the prose.

Figures on 481 annotated pages are in benchmarks/RESULTS.md.
"""

import re
import unicodedata
from html import unescape
from itertools import accumulate
from typing import Any, NamedTuple

from pipelines.source.document_sink import Extractor, TextFormat
from pipelines.source.web.extraction.code import lines_of_code
from pipelines.source.web.extraction.dom import inked
from pipelines.source.web.extraction.formats import FORMATS, Format
from pipelines.source.web.extraction.layout.boilerplate import keep_main_part, without_surroundings
from pipelines.source.web.extraction.layout.second_choice import choose_again, is_little
from pipelines.source.web.extraction.layout.tail import remove_tail
from pipelines.source.web.extraction.layout.title import from_title
from pipelines.source.web.extraction.layout.type_rules import RULES
from pipelines.source.web.extraction.markup import Markup
from pipelines.source.web.extraction.stated import stated_besides, stated_instead
from pipelines.source.web.extraction.text import prose, tidy, without_repeats
from pipelines.source.web.extraction.visible import visible_page

EXTRACTION_VERSION = 14
"""Part of the key of every input with HTML pages. Raise it with any change of the text that a page gives."""
MAX_CHARACTERS = 16 * 2**20
"""Characters of a page that are read, equal to the bytes of the largest WARC record: the rest is cut off. Of 481 pages
the largest has 1.4 million."""
MAX_TAGS = 200_000
"""A page with more tags is not searched for its main part, which costs some ten microseconds per tag; its whole text
is taken. Of 481 pages the largest has 12,000."""
MAX_NESTING = 500
"""Elements inside elements above which a page's whole text is taken: finding the main part takes time quadratic in
the nesting, a second for 10,000 levels. Browsers stop at 512."""
MIN_COUNTED_TAGS = 8_000
"""Tags below which a page is not looked at for its nesting."""
MAX_PARSED_TAGS = 1_000_000
"""A page with more tags is not parsed, at up to 800 bytes of memory per tag; its tags are cut out."""
MAX_PARSED_NESTING = 10_000
"""As MAX_PARSED_TAGS: HTML's rules for links inside links take time quadratic in the nesting, 8 s for 100,000."""
MAX_OPTIONS = 2_000
"""A page with more options of selects is parsed without them, which takes time quadratic in those of one select: 3 s
for 40,000."""
MAX_CASCADE_CHARACTERS = 150_000
"""Above this much HTML trafilatura, at a quarter of a second per million characters, is not worth its time."""
MAX_CASCADE_TAGS = 3_500
"""As MAX_CASCADE_CHARACTERS, at up to 70 microseconds per tag."""
MIN_TEXT_CHARACTERS = 500
"""Text shorter than this may have lost its prose to pruning."""
MIN_PROSE_SHARE = 0.2
"""Share of the text's characters in lines of prose below which it may be the surroundings of the prose."""
MIN_PROSE_CHARACTERS = 250
"""Prose in the HTML, in runs of 40 characters without a tag, below which trafilatura would find none either (its own
MIN_EXTRACTED_SIZE)."""

_TAG = re.compile(
    r"<(/?)(?!(?:p|br|img|input|meta|link|hr|li|td|th|tr|dt|dd|option|source|col|wbr|thead|tbody|tfoot)\b)[a-z]",
    re.IGNORECASE,
)
_PROSE = re.compile(r"<(?:p|div|td|li|br|span|section|article)\b[^<>]*>([^<]{40,})", re.IGNORECASE)
_SCRIPT = re.compile(r"<(script|style)\b[^<>]*+>(?:[^<]++|<(?!/\1))*+", re.IGNORECASE)
_XML = re.compile(r"\s*<\?xml\b", re.IGNORECASE)
_EMPTY_ELEMENT = re.compile(
    r"<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr)\b)([a-z][\w:.-]*)(\s[^<>]*)?/>",
    re.IGNORECASE,
)
"""An element that XML ends with its start tag. HTML does not: a script or title would swallow the page, and a link the
text behind it."""
_OPTION = re.compile(r"<option\b[^<>]*+>[^<]*+(?:</option\s*>)?", re.IGNORECASE)
_ANY_TAG = re.compile(r"<[^<>]*+>")
_CUNEIFORM = range(0x12000, 0x1239A)
"""Signs that Python prints, more than there are format characters."""


class Extraction(NamedTuple):
    """The text of a page and how it came about."""

    text: str
    engine: str
    page_type: str
    """One of layout.page_type.PAGE_TYPES; "" if the page was not looked at for it."""
    kept_share: float | None
    """Characters of the text as a share of the visible ones on the page, blanks aside; None if all were taken."""

    def telemetry(self) -> dict[str, Any]:
        """The extraction record of a document: the share to three digits, and the page's type if it is known."""
        share = {} if self.kept_share is None else {"kept_share": round(self.kept_share, 3)}
        return {**share, "page_type": self.page_type} if self.page_type else share


def extract(html: str, extractor: Extractor) -> tuple[str, str]:
    """Plain text of a page and the name of the engine that made it, as in `extract_page`."""
    extraction = extract_page(html, extractor)
    return extraction.text, extraction.engine


def extract_page(html: str, extractor: Extractor, text_format: TextFormat = "text") -> Extraction:
    """Text of a page, plain or in Markdown.

    `extractor`: "all_text" is every visible text; "main_content" is resiliparse's main content; "cascade" is the main
    part of the page without boilerplate, by trafilatura if that is in doubt. The engine is "resiliparse",
    "trafilatura", "resiliparse (trafilatura: <error>)" if trafilatura broke down on the page, "none" if the page is
    beyond parsing and only its tags were cut out, or starts with SECOND_CHOICE if the cascade left little of the prose.
    """
    html = html[:MAX_CHARACTERS]
    if _XML.match(html):
        html = _EMPTY_ELEMENT.sub(r"<\1\2></\1>", html)
    try:
        return _extract(html, extractor, FORMATS[text_format])
    except UnicodeEncodeError:  # lone surrogates, which the parser refuses
        return _extract(_without_surrogates(html), extractor, FORMATS[text_format])


def _extract(html: str, extractor: Extractor, form: Format) -> Extraction:
    num_tags = html.count("<")
    if num_tags > MAX_OPTIONS and html.count("<option") + html.count("<OPTION") > MAX_OPTIONS:
        html = _OPTION.sub("", html)
        num_tags = html.count("<")
    nesting = _nesting(html, num_tags)
    if num_tags > MAX_PARSED_TAGS or nesting > MAX_PARSED_NESTING:
        return Extraction(_without_tags(html), "none", "", None)
    tree, visible = visible_page(html)
    if tree.body is None or extractor == "all_text" or num_tags > MAX_TAGS or nesting > MAX_NESTING:
        return Extraction(form.all_text(tree), "resiliparse", "", None)
    page_type, engine = "", "resiliparse"
    if extractor == "main_content":
        text = form.main_content(tree)
    else:
        page_type, page = keep_main_part(html, tree.body, visible, form.has_captions)
        text, engine = _cascade(html, page, form)
        if is_little(text, visible):
            text, engine = choose_again(html, text, form) or (text, engine)
        if _is_doubtful(text) and (stated := stated_instead(html, text, form)):
            text, engine = tidy(stated), "json-ld"
        elif RULES[page_type].states_more and (stated := stated_besides(html, text, form)):
            text = tidy(f"{text}\n\n{stated}")
        if RULES[page_type].starts_at_title:
            text = from_title(text, page)
        if not RULES[page_type].repeats:
            text = without_repeats(text, lines_of_code(page))
    return Extraction(text, engine, page_type, min(inked(text) / (visible or 1), 1.0))


def _cascade(html: str, page: Markup, form: Format) -> tuple[str, str]:
    """Text of a pruned page, or trafilatura's if that is in doubt, with its engine."""
    remove_tail(page)
    text = form.text(page)
    if not _is_doubtful(text) or not _worth_trafilatura(html, text):
        return text, "resiliparse"
    better, error = _trafilatura(html, form.of_trafilatura)
    if better:
        return better, "trafilatura"
    return text, f"resiliparse (trafilatura: {error})" if error else "resiliparse"


def _nesting(html: str, num_tags: int) -> int:
    """The maximum number of open tags at one point, or 0 if there are too few tags to count."""
    # Each level takes at least one tag, and 8,000 levels are still searched in well under a second.
    if not MIN_COUNTED_TAGS < num_tags <= MAX_PARSED_TAGS:
        return 0
    return max(accumulate(-1 if closing else 1 for closing in _TAG.findall(html)), default=0)


def _without_tags(html: str) -> str:
    return tidy(unescape(_ANY_TAG.sub("\n", _SCRIPT.sub("\n", _without_surrogates(html)))))


def _without_surrogates(html: str) -> str:
    return html.encode("utf-8", "replace").decode()


def _is_doubtful(text: str) -> bool:
    if len(text) < MIN_TEXT_CHARACTERS:
        return True
    return prose(text) < MIN_PROSE_SHARE * len(text)


def _worth_trafilatura(html: str, text: str) -> bool:
    """Whether a page is small enough, and has more prose than `text`, for trafilatura to find."""
    if len(html) > MAX_CASCADE_CHARACTERS or html.count("<") > MAX_CASCADE_TAGS:
        return False
    return sum(map(len, _PROSE.findall(html))) >= max(MIN_PROSE_CHARACTERS, len(text))


def _trafilatura(html: str, output_format: str) -> tuple[str, str]:
    """trafilatura's text, "" if it finds none, and the name of the error that it broke down with, if any."""
    # Imported here: it takes longer to import than most commands that never extract a page take to run.
    import trafilatura

    try:
        page = without_surroundings(html)
        signs = _signs_of_marks(page)
        page = page.translate(signs)
        text = trafilatura.extract(page, output_format=output_format, include_comments=False) or ""
        return tidy(text.translate({sign: mark for mark, sign in signs.items()})), ""
    except (RecursionError, ValueError) as error:
        return "", type(error).__name__


def _signs_of_marks(page: str) -> dict[int, int]:
    """For each format character of a page, such as a joiner, a sign that the page lacks: trafilatura drops characters
    that Python does not print, also those that shape words and emoji."""
    marks = sorted(mark for mark in set(page) if unicodedata.category(mark) == "Cf")
    return dict(zip(map(ord, marks), (sign for sign in _CUNEIFORM if chr(sign) not in page), strict=False))
