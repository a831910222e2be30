"""What is measured on a document, and what makes it worth keeping: scores first, limits on them second."""

from typing import Annotated, Literal

from pydantic import Field

from data_recipes.section import Fraction, Name, Section

PiiKind = Literal["email", "iban", "ip", "phone", "secret"]
"""Kinds of personal data and secrets that are found, by name."""


class BenchmarkSection(Section):
    """One evaluation file whose items must not stand in the corpus."""

    name: Name
    path: str
    """.jsonl, .json (a list), .tsv (with a header line), each also as .gz, or .parquet; relative to the recipe."""
    fields: Annotated[list[str], Field(min_length=1)]
    """Fields with text; each is looked for on its own. Dots lead into nested fields."""


class ScoreSection(Section):
    """What is measured beyond the text rules, which are always measured. No threshold stands here."""

    url_lists: list[str] = []
    """Files of domains (with their subdomains) and URL prefixes, one a line."""
    word_lists: list[str] = []
    """Files of words and phrases, one a line; they are counted whole and in any case."""
    arbitrate_language: bool = True
    """Ask a second, slower engine where the first is not sure of the language."""
    phone_regions: list[str] = []
    """ISO 3166 codes whose national phone numbers are found; international ones (+49 ...) always are."""
    quality_model: str = ""
    """File of a classifier whose probability is the score `quality`: .safetensors from `arctic train-quality`, or the
    .bin of a fastText classifier (`fasttext supervised`)."""
    quality_label: str = ""
    """Label of a fastText classifier that is the good one, as `__label__hq`."""
    decontaminate: list[BenchmarkSection] = []
    """Evaluation files to look for."""


class FilterSection(Section):
    """Limits on the scores of a document: Gopher (arXiv 2112.11446, table A1), C4 (1910.10683, section 2.2), FineWeb
    (2406.17557, section 3.6), lists and signals."""

    takedown: list[str] = []
    """Files of doc ids, URLs and domains to remove, one a line. A URL removes its page however it is spelled (RFC 3986,
    6.2.2 and 6.2.3; http and https alike); the filter warns of entries that name no document."""
    respect_opt_out: bool = True
    """Drop what says `noai` or reserves text and data mining (`tdm-reservation: 1`)."""
    drop_noindex: bool = False
    """Drop what says `noindex` or `none`: asked of search engines, stricter than the law on training."""
    allowed_licences: list[str] = []
    """Licences to keep, as in the licence column; empty keeps every licence and none."""
    denied_licences: list[str] = []
    drop_listed_urls: bool = True
    """Drop what stands on `score.url_lists`."""
    max_listed_words: int = 0
    """Occurrences of entries of `score.word_lists`; C4 drops a page for one."""
    languages: list[str] = []
    """ISO 639-1 codes to keep; empty keeps every language."""
    min_language_margin: Fraction = 0.0
    """How much farther the second language is than the first, as a share."""
    min_words: int = 50
    """In scripts without blanks between words (Chinese, Japanese, Thai ...) estimated from the letters."""
    max_words: int = 100_000
    max_code_lines_fraction: Fraction = 1.0
    """Lines of program code. The limits from `min_mean_word_length` to `max_newlines_per_word` hold for the other
    lines, and not at all if most lines are code and fewer than 50 words are left."""
    max_duplicate_code_characters_fraction: Fraction = 0.5
    """Characters of lines of code that stood before, as a share of all characters."""
    min_mean_word_length: float = 3.0
    """Of words between blanks; not asked of scripts without them. A syllable of Korean counts as two letters."""
    max_mean_word_length: float = 10.0
    max_symbol_to_word_ratio: float = 0.1
    """`#` and ellipses per word."""
    max_bullet_lines_fraction: Fraction = 0.9
    max_ellipsis_lines_fraction: Fraction = 0.3
    min_alpha_words_fraction: Fraction = 0.8
    """Words with at least one letter."""
    min_stop_words: int = 2
    """Different ones of the commonest words of the document's language or of English, whichever are more; in English:
    the, be, to, of, and, that, have, with. Not asked of a language without such a list (some 40 have one)."""
    max_duplicate_line_fraction: Fraction = 0.3
    max_duplicate_paragraph_fraction: Fraction = 0.3
    max_duplicate_line_characters_fraction: Fraction = 0.2
    """FineWeb: 0.01."""
    max_duplicate_paragraph_characters_fraction: Fraction = 0.2
    max_top_2gram_fraction: Fraction = 0.2
    """Characters inside the most frequent word 2-gram, as a share of all."""
    max_top_3gram_fraction: Fraction = 0.18
    max_top_4gram_fraction: Fraction = 0.16
    max_duplicate_5gram_fraction: Fraction = 0.15
    """Characters inside word 5-grams that stood before, as a share of all."""
    max_duplicate_6gram_fraction: Fraction = 0.14
    max_duplicate_7gram_fraction: Fraction = 0.13
    max_duplicate_8gram_fraction: Fraction = 0.12
    max_duplicate_9gram_fraction: Fraction = 0.11
    max_duplicate_10gram_fraction: Fraction = 0.1
    drop_lorem_ipsum: bool = True
    drop_curly_brackets: bool = False
    """C4's rule against code in prose; wrong for corpora of documentation or code."""
    min_c4_sentences: int = 0
    """C4: 5, in the lines that C4 would keep. 0: off. Not asked of scripts without such marks, as Thai."""
    max_c4_dropped_lines_fraction: Fraction = 1.0
    """Lines that C4 would cut out of a page. Text is never rewritten here, so they count against the document."""
    max_javascript_lines_fraction: Fraction = 1.0
    max_policy_lines_fraction: Fraction = 1.0
    """Lines about cookies, terms of use and privacy."""
    min_punctuated_lines_fraction: Fraction = 0.0
    """Lines that end a sentence. FineWeb: 0.12. 0: off."""
    max_short_lines_fraction: Fraction = 1.0
    """Lines of up to 30 characters. FineWeb: 0.67."""
    max_newlines_per_word: float | None = None
    """FineWeb: 0.3. Unset: off."""
    min_quality: Fraction = 0.0
    """Probability that `score.quality_model` gives."""
    max_contamination: Fraction = 0.75
    """Share of an evaluation item's words that stand in the document in their order."""
    redact: list[PiiKind] = ["email", "iban", "ip", "phone", "secret"]
    """Kinds that are replaced by their name, as <EMAIL>, whenever the text is read for training."""
