"""Scores of a document, and the rules for keeping it: scores first, limits on them second."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from data_recipes.section import (
    Count,
    ExtensionSection,
    Fraction,
    FromHome,
    Location,
    Name,
    NonNegativeFloat,
    PathText,
    PositiveFloat,
    PositiveInt,
    Section,
    Text,
)
from data_recipes.sections.annotation import LabelLimitSection

PiiKind = Literal["card", "email", "iban", "ip", "national_id", "phone", "secret"]
"""Kinds of personal data and secrets that are found, by name."""

Profile = Literal["web", "code", "docs", "chat"]
"""Sets of limits for kinds of documents; `profiles/` has a page with each."""
_PROFILES = Path(__file__).parents[1] / "profiles"


class BenchmarkSection(Section):
    """One evaluation file whose items must not occur in the corpus."""

    name: Name
    """Name of the benchmark in scores and reports."""
    path: Annotated[PathText, Location()]
    """Evaluation file, relative to the recipe: .jsonl, .json (a list) or .tsv (with a header line), each optionally
    .gz, or .parquet."""
    fields: Annotated[list[Text], Field(min_length=1)]
    """Fields that hold text. Each is searched for separately. Dots address nested fields."""


class ScoreSection(Section):
    """Measurements beyond the text scores, which are always computed. Thresholds belong to `[filter]`."""

    url_lists: Annotated[list[PathText], Location()] = []
    """Files with one entry per line: domains, which include their subdomains (`example.org` or `*.example.org`), or
    URL prefixes (`example.org/path` or `example.org/path/*`)."""
    word_lists: Annotated[list[PathText], Location()] = []
    """Files with one word or phrase per line, matched as whole words, case-insensitively."""
    arbitrate_language: bool = True
    """Ask a second, slower language detector if the first one is uncertain."""
    phone_regions: list[Text] = []
    """ISO 3166 codes of the countries whose national phone numbers are detected. International numbers (+49 ...) are
    always detected, and so are numbers behind a word of one language, such as 電話, that are valid in its countries."""
    quality_model: Annotated[str, FromHome, Location()] = ""
    """File of a classifier whose probability becomes the score `quality`: .safetensors from `arctic train-quality`, or
    the .bin of a fastText classifier (`fasttext supervised`)."""
    quality_label: str = ""
    """Label of the fastText classifier's positive class, such as `__label__hq`."""
    decontaminate: list[BenchmarkSection] = []
    """Evaluation files whose items are searched for in the corpus."""
    scorers: list[ExtensionSection] = []
    """Scorers of your own. Each adds numeric columns to the scores (see `pipelines.score.own.DocumentScorer`)."""

    @model_validator(mode="after")
    def _label_has_a_model(self) -> Self:
        if self.quality_label and not self.quality_model:
            raise ValueError(f"quality_label = {self.quality_label!r}: no quality_model has it. Set one, or remove it.")
        return self

    @model_validator(mode="after")
    def _benchmarks_have_own_names(self) -> Self:
        names = [item.name for item in self.decontaminate]
        for number, name in enumerate(names, start=1):
            if name in names[: number - 1]:
                raise ValueError(f"decontaminate.{number}.name = {name!r}: an earlier file has this name. Rename one.")
        return self


class FilterSection(Section):
    """Limits on a document's scores: Gopher (arXiv 2112.11446, table A1), C4 (1910.10683, section 2.2), FineWeb
    (2406.17557, section 3.6), lists and opt-out signals."""

    profile: Profile | None = None
    """Limits for a kind of documents: `web` (pages of a crawl), `code`, `docs` (documentation) or `chat`. It replaces
    the defaults below; fields that you set win. Unset, the defaults are Gopher's limits for prose."""
    takedown: Annotated[list[PathText], Location()] = []
    """Files with one document id, URL, domain or IP address per line; matching documents are removed. A URL matches
    every equivalent spelling (RFC 3986, 6.2.2 and 6.2.3; http and https alike). Entries that match no document raise a
    warning."""
    respect_opt_out: bool = True
    """Drop documents that declare `noai` or reserve text and data mining (`tdm-reservation: 1`)."""
    drop_noindex: bool = False
    """Drop documents that declare `noindex` or `none`. Both address search engines, so this is stricter than the law on
    training requires."""
    allowed_licences: list[Text] = []
    """Licences to keep, as in the column `licence`. Empty keeps every document, with or without a licence."""
    denied_licences: list[Text] = []
    """Licences to drop, as in the column `licence`. Either these or `allowed_licences`."""
    drop_listed_urls: bool = True
    """Drop documents whose URL matches `score.url_lists`."""
    max_listed_words: Count = 0
    """Maximum number of matches of `score.word_lists`. C4 drops a page at the first match (0)."""
    languages: list[Text] = []
    """ISO 639-1 codes of the languages to keep. Empty keeps every language."""
    min_language_margin: Fraction = 0.0
    """Minimum relative distance between the detected language and the runner-up."""
    min_words: Count = 50
    """Minimum number of words. In scripts without spaces between words (Chinese, Japanese, Thai ...), words are
    estimated from the letters."""
    max_words: PositiveInt = 100_000
    """Maximum number of words."""
    max_code_lines_fraction: Fraction = 1.0
    """Maximum fraction of lines that are program code. The limits from `min_mean_word_length` to
    `max_newlines_per_word` apply to the other lines only, and not at all if most lines are code and fewer than 50 words
    remain."""
    max_duplicate_code_characters_fraction: Fraction = 0.5
    """Maximum fraction of the document's characters in repeated lines of code."""
    min_mean_word_length: NonNegativeFloat = 3.0
    """Minimum mean word length in letters of English. Scaled to the detected language for 120 languages (German words
    are 1.24 times as long). Not applied to scripts without spaces. A Korean syllable counts as two letters."""
    max_mean_word_length: PositiveFloat = 10.0
    """Maximum mean word length in letters of English. Scaled and applied as `min_mean_word_length`."""
    max_symbol_to_word_ratio: NonNegativeFloat = 0.1
    """Maximum number of `#` or of ellipses per word, whichever is larger."""
    max_bullet_lines_fraction: Fraction = 0.9
    """Maximum fraction of lines that start with a bullet."""
    max_ellipsis_lines_fraction: Fraction = 0.3
    """Maximum fraction of lines that end with an ellipsis."""
    min_alpha_words_fraction: Fraction = 0.8
    """Minimum fraction of words with at least one letter."""
    min_stop_words: Count = 2
    """Minimum number of distinct stop words of the document's language or of English, whichever is larger; for English:
    the, be, to, of, and, that, have, with. Not applied to languages without a stop-word list (some 40 have one)."""
    max_duplicate_line_fraction: Fraction = 0.3
    """Maximum fraction of lines that repeat an earlier line."""
    max_duplicate_paragraph_fraction: Fraction = 0.3
    """Maximum fraction of paragraphs that repeat an earlier paragraph."""
    max_duplicate_line_characters_fraction: Fraction = 0.2
    """Maximum fraction of characters in repeated lines. FineWeb uses 0.01."""
    max_duplicate_paragraph_characters_fraction: Fraction = 0.2
    """Maximum fraction of characters in repeated paragraphs."""
    max_top_2gram_fraction: Fraction = 0.2
    """Maximum fraction of characters in the most frequent 2-gram of words."""
    max_top_3gram_fraction: Fraction = 0.18
    """Maximum fraction of characters in the most frequent 3-gram of words."""
    max_top_4gram_fraction: Fraction = 0.16
    """Maximum fraction of characters in the most frequent 4-gram of words."""
    max_duplicate_5gram_fraction: Fraction = 0.15
    """Maximum fraction of characters in repeated 5-grams of words."""
    max_duplicate_6gram_fraction: Fraction = 0.14
    """Maximum fraction of characters in repeated 6-grams of words."""
    max_duplicate_7gram_fraction: Fraction = 0.13
    """Maximum fraction of characters in repeated 7-grams of words."""
    max_duplicate_8gram_fraction: Fraction = 0.12
    """Maximum fraction of characters in repeated 8-grams of words."""
    max_duplicate_9gram_fraction: Fraction = 0.11
    """Maximum fraction of characters in repeated 9-grams of words."""
    max_duplicate_10gram_fraction: Fraction = 0.1
    """Maximum fraction of characters in repeated 10-grams of words."""
    drop_lorem_ipsum: bool = True
    """Drop documents that contain "lorem ipsum"."""
    drop_curly_brackets: bool = False
    """Drop documents that contain a curly bracket: C4's rule against code in prose. Not suitable for documentation or
    code."""
    min_c4_sentences: Count = 0
    """Minimum number of sentences in the lines that C4 would keep; C4 uses 5, and 0 disables the limit. Not applied to
    scripts without sentence marks, such as Thai."""
    max_c4_dropped_lines_fraction: Fraction = 1.0
    """Maximum fraction of lines that C4 would delete. Text is never rewritten here; such lines count against the
    document instead."""
    max_javascript_lines_fraction: Fraction = 1.0
    """Maximum fraction of lines that mention JavaScript."""
    max_policy_lines_fraction: Fraction = 1.0
    """Maximum fraction of lines about cookies, terms of use and privacy."""
    min_punctuated_lines_fraction: Fraction = 0.0
    """Minimum fraction of lines that end a sentence; FineWeb uses 0.12, and 0 disables the limit."""
    max_short_lines_fraction: Fraction = 1.0
    """Maximum fraction of lines of up to 30 characters. FineWeb uses 0.67."""
    max_newlines_per_word: NonNegativeFloat | None = None
    """Maximum number of line breaks per word; FineWeb uses 0.3. Disabled if unset."""
    min_quality: Fraction = 0.0
    """Minimum probability from `score.quality_model`."""
    max_contamination: Fraction = 0.75
    """Maximum fraction of an evaluation item's words that occur in the document in the item's order."""
    redact: list[PiiKind] = ["card", "email", "iban", "ip", "national_id", "phone", "secret"]
    """Kinds of personal data to replace by their name, such as <EMAIL>, whenever the text is read for training."""
    labels: list[LabelLimitSection] = []
    """Limits on the labels of annotations of this corpus."""
    rules: list[ExtensionSection] = []
    """Rules of your own, applied in order to the documents that pass every limit (see
    `pipelines.filter.own.FilterRule`)."""

    @model_validator(mode="before")
    @classmethod
    def _profile_sets_the_rest(cls, fields: Any) -> Any:
        profile = fields.get("profile") if isinstance(fields, dict) else None
        return {**_profile_limits(profile), **fields} if profile in get_args(Profile) else fields

    @model_validator(mode="after")
    def _limits_leave_room(self) -> Self:
        for name in ("words", "mean_word_length"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if least > most:
                raise ValueError(
                    f"min_{name} = {least} is more than max_{name} = {most}. Lower it, or raise the other."
                )
        return self


@cache
def _profile_limits(profile: Profile) -> dict[str, Any]:
    return tomllib.loads((_PROFILES / f"{profile}.toml").read_text(encoding="utf-8"))
