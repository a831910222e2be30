"""Tables and listings of real pages: rows that are whole on a line, and listings that are equal to the character; and
the edit similarity of formulas in each encoding.

Pages as in extraction_by_type.py, read by lxml: rows of at least two cells with words, in tables that hold no other
table and no blocks of prose, and texts of `pre` with at least two lines. A row or listing is "there" if its words
follow each other in an extracted text. Blanks at the ends of lines aside, a listing must be equal.

Each formula stands in a sentence of an article. Its line is compared with the sentence that has the LaTeX between "$",
or without "$" if the engine writes none.
"""

import re
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from statistics import mean

import lxml.html
import trafilatura
from extraction_by_type import chosen_pages
from harness import machine, one_core, report
from resiliparse.extract.html2text import extract_plain_text

from pipelines.source.web.extraction.extract import extract_page
from tests.kit.web.formulas import ENCODINGS, FORMULAS, encoded_formula

GOAL = "95 % of the rows that are there are whole on a line"
CONTENDERS: dict[str, Callable[[str], str]] = {
    "ours, text": lambda html: extract_page(html, "all_text", "text").text,
    "ours, Markdown": lambda html: extract_page(html, "all_text", "markdown").text,
    "resiliparse": lambda html: extract_plain_text(html, preserve_formatting=True),
    "trafilatura, Markdown": lambda html: trafilatura.extract(html, output_format="markdown") or "",
}
_LAYOUT = ("table", "pre", "blockquote", "h1", "h2", "h3", "article", "section", "form")
_WORD = re.compile(r"\w+")


def main() -> None:
    htmls = [page.html for page in chosen_pages(__doc__)]
    one_core()
    htmls = [html for html in htmls if "<table" in html.lower() or "<pre" in html.lower()]
    trees = [
        lxml.html.document_fromstring(html.encode(), parser=lxml.html.HTMLParser(encoding="utf-8")) for html in htmls
    ]
    rows, code = [list(rows_of(tree)) for tree in trees], [list(listings_of(tree)) for tree in trees]
    print(machine("resiliparse", "trafilatura", "lxml"))
    print(f"{len(htmls)} pages, {sum(map(len, rows)):,} rows, {sum(map(len, code)):,} listings\n")
    print("| engine | rows there | whole on a line | listings there | equal |")
    print("|---|---|---|---|---|")
    shares = {}
    for name, work in CONTENDERS.items():
        texts = [work(html) for html in htmls]
        there, whole = count(texts, rows, is_on_a_line)
        listings, equal = count(texts, code, is_equal)
        shares[name] = whole / max(there, 1)
        print(f"| {name} | {there:,} | {shares[name]:.1%} | {listings:,} | {equal / max(listings, 1):.1%} |")
    _print_formulas()
    ours = min(shares.pop(name) for name in list(shares) if name.startswith("ours"))
    report("extraction_structure", ours, shares, "rows whole on a line", ours / max(shares.values()), GOAL)


def _print_formulas() -> None:
    print(f"\n| formulas in | {' | '.join(CONTENDERS)} |\n|---{'|---' * len(CONTENDERS)}|")
    for encoding in ENCODINGS:
        similarities = (
            mean(formula_similarity(work, each, encoding) for each in FORMULAS) for work in CONTENDERS.values()
        )
        print(f"| {encoding} | {' | '.join(f'{each:.2f}' for each in similarities)} |")


def formula_similarity(extract: Callable[[str], str], formula: str, encoding: str) -> float:
    """Of the line with the formula, 0 to 1."""
    before = f"<p>{'The town measured the height of the river on each day of the flood. ' * 8}</p>" * 3
    sentence = f"<p>They say {encoded_formula(formula, encoding)} holds.</p>"
    text = extract(f"<html><body><article><h1>The flood</h1>{before}{sentence}</article></body></html>")
    lines = [line for line in text.split("\n") if line.startswith("They say")] or [""]
    expected = (f"They say ${formula}$ holds.", f"They say {formula} holds.")
    return max(SequenceMatcher(None, lines[0], each).ratio() for each in expected)


def rows_of(tree: lxml.html.HtmlElement) -> Iterator[str]:
    """The cells of each row of data, with a blank between them."""
    for table in tree.iter("table"):
        if next(table.iterdescendants(*_LAYOUT), None) is None:
            for row in table.iter("tr"):
                cells = [" ".join(cell.itertext()) for cell in row if cell.tag in ("td", "th")]
                if sum(bool(_WORD.search(cell)) for cell in cells) >= 2:
                    yield " ".join(cells)


def listings_of(tree: lxml.html.HtmlElement) -> Iterator[str]:
    """The texts of `pre` of several lines."""
    return (text for each in tree.iter("pre") if "\n" in (text := each.text_content().strip("\n")))


def count(texts: list[str], items: list[list[str]], is_right: Callable[[str, str], bool]) -> tuple[int, int]:
    """How many items are in the text of their page, and how many of these are right."""
    there = [
        (text, item) for text, of_page in zip(texts, items, strict=True) for item in of_page if has_words(text, item)
    ]
    return len(there), sum(is_right(text, item) for text, item in there)


def has_words(text: str, item: str) -> bool:
    return f" {' '.join(_WORD.findall(item))} " in f" {' '.join(_WORD.findall(text))} "


def is_on_a_line(text: str, row: str) -> bool:
    return any(has_words(line, row) for line in text.split("\n"))


def is_equal(text: str, listing: str) -> bool:
    # An empty line before and after a listing is the text's own.
    ours, theirs = ("\n".join(map(str.rstrip, each.split("\n"))) for each in (text, listing))
    return theirs.strip("\n") in ours


if __name__ == "__main__":
    main()
