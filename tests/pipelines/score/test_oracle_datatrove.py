"""Decisions on real pages against datatrove's filters, rule by rule.

datatrove splits words and sentences with spaCy, which is not a dependency here: its splitters are replaced by ours, so
that only the rules are compared, and both read the lines that are not code. If the two rules differ on purpose, the
test describes the difference, and every differing decision must be of that kind.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from data_recipes.schema import SourceSection
from data_recipes.sections.refining import FilterSection
from infra.context import StageContext
from pipelines import source
from pipelines.artifacts.documents import shard_paths
from pipelines.score.text.characters import SENTENCE_ENDS, Characters
from pipelines.score.text.code_lines import code_lines
from pipelines.score.text.language import Language
from pipelines.score.text.layout import layout
from pipelines.score.text.prose import prose_scores, without_lines
from tests.kit.real_data import REAL_DATA

datatrove = pytest.importorskip("datatrove", reason="datatrove is not installed: the oracle of these rules")
import pyarrow.parquet as pq  # noqa: E402
from datatrove.data import Document  # noqa: E402
from datatrove.pipeline.filters import (  # noqa: E402
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.utils.text import TERMINAL_PUNCTUATION  # noqa: E402

WEB = REAL_DATA / "web"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WEB.is_dir(), reason=f"real web pages are not on this machine: {WEB}"),
]
LIMITS = FilterSection()
ENGLISH = Language("en", 1.0, False)
"""datatrove asks every page for English stop words."""
STOP_WORDS = set(gopher_quality_filter.STOP_WORDS)
BULLETS = set("‣◦▪●○*–·")


class Rule(NamedTuple):
    """`theirs`: datatrove's filter with this rule alone; `drops`: our decision from the scores; `explained`: whether a
    text is one on which the two rules differ on purpose, `why`: how; `reads_code`: whether it is about all lines."""

    name: str
    theirs: Callable[[], object]
    drops: Callable[[dict], bool]
    explained: Callable[[str], bool] = lambda text: False
    why: str = ""
    reads_code: bool = False


def repetition(**rule) -> Callable[[], object]:
    none = {
        "dup_line_frac": None,
        "dup_para_frac": None,
        "dup_line_char_frac": None,
        "dup_para_char_frac": None,
        "top_n_grams": (),
        "dup_n_grams": (),
    }
    return lambda: GopherRepetitionFilter(**none | rule)


def quality(**rule) -> Callable[[], object]:
    none = dict.fromkeys(
        (
            "min_doc_words",
            "max_doc_words",
            "min_avg_word_length",
            "max_avg_word_length",
            "max_symbol_word_ratio",
            "max_bullet_lines_ratio",
            "max_ellipsis_lines_ratio",
            "max_non_alpha_words_ratio",
            "min_stop_words",
        )
    )
    return lambda: GopherQualityFilter(**none | rule)


def c4(**rule) -> Callable[[], object]:
    none = {
        "remove_citations": False,
        "filter_no_terminal_punct": False,
        "min_num_sentences": -1,
        "min_words_per_line": -1,
        "max_word_length": -1,
        "filter_lorem_ipsum": False,
        "filter_javascript": False,
        "filter_curly_bracket": False,
        "filter_policy": False,
    }
    return lambda: C4QualityFilter(**none | rule)


def fineweb(**rule) -> Callable[[], object]:
    none = {"line_punct_thr": 0.0, "short_line_thr": 1.0, "char_duplicates_ratio": 1.0, "new_line_ratio": 1e9}
    return lambda: FineWebQualityFilter(**none | rule)


def symbols_only(word: str) -> bool:
    from datatrove.utils.text import PUNCTUATION_SET

    return all(character in PUNCTUATION_SET for character in word)


def repeats(words: list[str], n: int) -> bool:
    runs = list(zip(*(words[start:] for start in range(n)), strict=False))
    return len(set(runs)) < len(runs)


UNSPACED = "Chinese has more words than blanks"


def is_unspaced(text: str) -> bool:
    return len(re.findall("[\u3040-\u30ff\u4e00-\u9fff]", text)) > len(text) / 2


def has_symbol_words(text: str) -> bool:
    return any(map(symbols_only, text.split()))


RULES = [
    Rule(
        "duplicate_lines",
        repetition(dup_line_frac=0.3),
        lambda s: s["duplicate_line_fraction"] > LIMITS.max_duplicate_line_fraction,
    ),
    Rule(
        "duplicate_paragraphs",
        repetition(dup_para_frac=0.3),
        lambda s: s["duplicate_paragraph_fraction"] > LIMITS.max_duplicate_paragraph_fraction,
    ),
    Rule(
        "duplicate_paragraph_characters",
        repetition(dup_para_char_frac=0.2),
        lambda s: s["duplicate_paragraph_characters_fraction"] > LIMITS.max_duplicate_paragraph_characters_fraction,
    ),
    *(
        Rule(
            f"top_{n}gram",
            repetition(top_n_grams=((n, limit),)),
            lambda s, n=n, limit=limit: s[f"top_{n}gram_fraction"] > limit,
            lambda text, n=n: not repeats(text.split(), n),
            "an n-gram that stands once is no repetition: of texts of a few words datatrove counts it",
        )
        for n, limit in ((2, 0.2), (3, 0.18), (4, 0.16))
    ),
    *(
        Rule(
            f"duplicate_{n}gram",
            repetition(dup_n_grams=((n, limit),)),
            lambda s, n=n, limit=limit: s[f"duplicate_{n}gram_fraction"] > limit,
        )
        for n, limit in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
    ),
    Rule(
        "min_words",
        quality(min_doc_words=50),
        lambda s: s["prose_words"] < 50,
        lambda text: has_symbol_words(text) or is_unspaced(text),
        f"datatrove leaves out words of signs alone; {UNSPACED}",
    ),
    Rule(
        "mean_word_length",
        quality(min_avg_word_length=3, max_avg_word_length=10),
        lambda s: s["mean_word_length"] is not None and not 3 <= s["mean_word_length"] <= 10,
        lambda text: has_symbol_words(text) or is_unspaced(text),
        f"datatrove leaves out words of signs alone; {UNSPACED}",
    ),
    Rule("symbols", quality(max_symbol_word_ratio=0.1), lambda s: s["symbol_to_word_ratio"] > 0.1),
    Rule(
        "bullets",
        quality(max_bullet_lines_ratio=0.9),
        lambda s: s["bullet_lines_fraction"] > 0.9,
        lambda text: "" in text.splitlines() or any(line.lstrip()[:1] in BULLETS for line in text.splitlines()),
        "datatrove counts empty lines as lines, and knows two of our ten bullets",
    ),
    Rule(
        "ellipsis_lines",
        quality(max_ellipsis_lines_ratio=0.3),
        lambda s: s["ellipsis_lines_fraction"] > 0.3,
        lambda text: "" in text.splitlines(),
        "datatrove counts empty lines as lines",
    ),
    Rule("alpha_words", quality(max_non_alpha_words_ratio=0.8), lambda s: s["alpha_words_fraction"] < 0.8),
    Rule(
        "stop_words",
        quality(min_stop_words=2),
        lambda s: s["stop_words"] is not None and s["stop_words"] < 2,
        lambda text: (
            is_unspaced(text) or set(re.findall(r"\w+", text.lower())) & STOP_WORDS != set(text.split()) & STOP_WORDS
        ),
        f"ours are found in any case and before a comma; {UNSPACED}",
    ),
    Rule(
        "lorem_ipsum",
        c4(filter_lorem_ipsum=True),
        lambda s: s["lorem_ipsum"],
        reads_code=True,
    ),
    Rule("curly_brackets", c4(filter_curly_bracket=True), lambda s: s["curly_brackets"], reads_code=True),
    Rule(
        "c4_sentences",
        lambda: C4QualityFilter(filter_lorem_ipsum=False, filter_curly_bracket=False),
        lambda s: s["c4_sentences"] < 5,
        lambda text: any(ord(character) > 127 for character in set(text) & set(SENTENCE_ENDS)),
        "datatrove knows no end of a sentence but that of Latin",
    ),
    Rule(
        "punctuated_lines",
        fineweb(line_punct_thr=0.12),
        lambda s: s["punctuated_lines_fraction"] < 0.12,
    ),
    Rule("short_lines", fineweb(short_line_thr=0.67), lambda s: s["short_lines_fraction"] > 0.67),
    Rule(
        "duplicate_characters",
        fineweb(char_duplicates_ratio=0.01),
        lambda s: s["duplicate_line_characters_fraction"] > 0.01,
    ),
    Rule(
        "newlines",
        fineweb(new_line_ratio=0.3),
        lambda s: s["newlines_per_word"] > 0.3,
        lambda text: is_unspaced(text),
        UNSPACED,
    ),
]


def sentences(line: str, language: str) -> list[str]:
    result = layout(Characters(f"w w w {line}").codes).line_sentences
    return [line] * max(1, int(result[0])) if len(result) else []


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> list[tuple[str, str, dict]]:
    """(text, lines of prose, scores) of every real page."""
    folder = tmp_path_factory.mktemp("pages")
    section = SourceSection(inputs=[{"kind": "warc", "paths": [str(WEB / "*.warc.gz")]}], extractor="main_content")
    for part in ("out", "state"):
        (folder / part).mkdir()
    context = StageContext("source", folder / "out", folder / "state", [].append)
    source.stage("web", section, source.fingerprint(section, folder), folder).work(context, {})
    texts = [
        text
        for path in shard_paths(folder / "out", "documents")
        for text in pq.read_table(path, columns=["text"])["text"].to_pylist()
    ]
    return [judged(text) for text in texts]


def judged(text: str) -> tuple[str, str, dict]:
    characters = Characters(text)
    result = layout(characters.codes)
    prose = without_lines(characters, code_lines(characters.codes, result))
    return text, prose.text, prose_scores(characters, result, ENGLISH)


@pytest.fixture(autouse=True)
def our_words(monkeypatch):
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        monkeypatch.setattr(module, "split_into_words", lambda text, language: text.split())
    monkeypatch.setattr(c4_filters, "split_into_sentences", sentences)


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_the_rule_decides_as_datatroves(rule, pages):
    theirs = rule.theirs()
    dropped, differing = 0, []
    for whole, prose, scores in pages:
        text = whole if rule.reads_code else prose
        decision = theirs.filter(Document(text=text, id=""))
        their_drop = decision is not True and decision[0] is not True
        dropped += their_drop
        if their_drop != bool(rule.drops(scores)):
            differing.append(text)
    print(f"{rule.name}: datatrove drops {dropped} of {len(pages)}, {len(differing)} decisions differ {rule.why}")
    assert [text[:200] for text in differing if not rule.explained(text)] == []
    assert len(pages) > 450


def test_line_characters_are_shares_of_the_lines_without_their_breaks(pages):
    """datatrove has two rules here: FineWeb's, as ours, and Gopher's, which counts line breaks among the characters."""
    gopher = repetition(dup_line_char_frac=0.2)()
    for _, text, scores in pages:
        characters = len(text) - text.count("\n")
        with_breaks = scores["duplicate_line_characters_fraction"] * characters / len(text)
        assert (gopher.filter(Document(text=text, id="")) is not True) == (with_breaks > 0.2)


def test_the_characters_that_end_a_sentence_are_the_same():
    assert set(SENTENCE_ENDS) == TERMINAL_PUNCTUATION
