"""Decisions follow from scores and limits: each rule by itself, their order, takedown lists."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from data_recipes.sections.refining import FilterSection
from pipelines.artifacts.documents import redact
from pipelines.artifacts.scores import SCORES
from pipelines.filter.redactions import choose_redactions
from pipelines.filter.rules import PROSE_RULES, RULES, decide
from pipelines.filter.takedown import Takedown

IDS = ["a" * 32, "b" * 32]
NOTHING = Takedown.of([])
FAIR = {
    **{field.name: False if pa.types.is_boolean(field.type) else 0 for field in SCORES if field.name != "doc_id"},
    "language": "en",
    "language_margin": 0.3,
    "words": 200,
    "mean_word_length": 5.0,
    "alpha_words_fraction": 0.95,
    "stop_words": 5,
    "c4_sentences": 9,
    "punctuated_lines_fraction": 0.9,
    "quality": 0.8,
}
STRICT = FilterSection(
    languages=["en"],
    min_language_margin=0.1,
    drop_noindex=True,
    denied_licences=["Proprietary"],
    drop_curly_brackets=True,
    min_c4_sentences=5,
    max_c4_dropped_lines_fraction=0.9,
    max_javascript_lines_fraction=0.5,
    max_policy_lines_fraction=0.5,
    min_punctuated_lines_fraction=0.12,
    max_short_lines_fraction=0.67,
    max_newlines_per_word=0.3,
    min_quality=0.5,
    max_code_lines_fraction=0.95,
)
BREAKS = {
    "opt_out": {"noai": True},
    "noindex": {"noindex": True},
    "listed_url": {"listed_url": True},
    "language": {"language": "de"},
    "language_margin": {"language_margin": 0.05},
    "min_words": {"words": 49},
    "max_words": {"words": 100_001},
    "code_lines": {"code_lines_fraction": 0.96, "prose_words": 200},
    "duplicate_code": {"duplicate_code_characters_fraction": 0.51},
    "min_mean_word_length": {"mean_word_length": 2.9},
    "max_mean_word_length": {"mean_word_length": 10.1},
    "symbol_to_word_ratio": {"symbol_to_word_ratio": 0.11},
    "bullet_lines": {"bullet_lines_fraction": 0.91},
    "ellipsis_lines": {"ellipsis_lines_fraction": 0.31},
    "alpha_words": {"alpha_words_fraction": 0.79},
    "stop_words": {"stop_words": 1},
    "duplicate_lines": {"duplicate_line_fraction": 0.31},
    "duplicate_paragraphs": {"duplicate_paragraph_fraction": 0.31},
    "duplicate_line_characters": {"duplicate_line_characters_fraction": 0.21},
    "duplicate_paragraph_characters": {"duplicate_paragraph_characters_fraction": 0.21},
    "top_2gram": {"top_2gram_fraction": 0.21},
    "top_3gram": {"top_3gram_fraction": 0.19},
    "top_4gram": {"top_4gram_fraction": 0.17},
    "duplicate_5gram": {"duplicate_5gram_fraction": 0.16},
    "duplicate_6gram": {"duplicate_6gram_fraction": 0.15},
    "duplicate_7gram": {"duplicate_7gram_fraction": 0.14},
    "duplicate_8gram": {"duplicate_8gram_fraction": 0.13},
    "duplicate_9gram": {"duplicate_9gram_fraction": 0.12},
    "duplicate_10gram": {"duplicate_10gram_fraction": 0.11},
    "lorem_ipsum": {"lorem_ipsum": True},
    "curly_brackets": {"curly_brackets": True},
    "c4_sentences": {"c4_sentences": 4},
    "c4_dropped_lines": {"c4_dropped_lines_fraction": 0.91},
    "javascript_lines": {"javascript_lines_fraction": 0.51},
    "policy_lines": {"policy_lines_fraction": 0.51},
    "punctuated_lines": {"punctuated_lines_fraction": 0.11},
    "short_lines": {"short_lines_fraction": 0.68},
    "newlines": {"newlines_per_word": 0.31},
    "listed_words": {"listed_words": 1},
    "quality": {"quality": 0.49},
    "contamination": {"contamination": 0.76},
}


def reasons(section: FilterSection, *rows: dict, takedown: Takedown = NOTHING, licence: str | None = None) -> list[str]:
    scores = pa.Table.from_pylist(
        [{"doc_id": doc_id, **FAIR, **row} for doc_id, row in zip(IDS, rows, strict=False)], schema=SCORES
    )
    pages = [{"url": f"https://{n}.example.org/page", "licence": licence} for n in range(len(rows))]
    schema = pa.schema({"url": pa.string(), "licence": pa.string()})
    return decide(scores, pa.Table.from_pylist(pages, schema=schema), section, takedown).tolist()


def test_every_rule_has_its_case():
    assert {*BREAKS, "takedown", "licence"} == set(RULES)


@pytest.mark.parametrize("reason", BREAKS)
def test_each_rule_drops_what_it_is_made_for(reason):
    assert reasons(STRICT, {}, BREAKS[reason]) == ["", reason]


@pytest.mark.parametrize("reason", sorted(PROSE_RULES))
def test_rules_of_prose_say_nothing_of_code_with_a_few_words_of_prose(reason):
    code = {"code_lines_fraction": 0.9, "prose_words": 49}
    assert reasons(STRICT, BREAKS[reason] | code) == [""]
    assert reasons(STRICT, BREAKS[reason] | code | {"prose_words": 50}) == [reason]
    assert reasons(STRICT, BREAKS[reason] | code | {"code_lines_fraction": 0.5}) == [reason]


@pytest.mark.parametrize("reason", sorted(set(BREAKS) - PROSE_RULES))
def test_all_other_rules_hold_for_code_as_well(reason):
    code = {"code_lines_fraction": 0.9, "prose_words": 49}
    assert reasons(STRICT, code | BREAKS[reason]) == [reason]


NULLABLE = [field.name for field in SCORES if field.nullable and field.name != "doc_id"]


def test_a_score_that_a_text_cannot_have_drops_nothing():
    assert {"stop_words", "mean_word_length", "c4_sentences", "punctuated_lines_fraction"} < set(NULLABLE)
    assert reasons(STRICT, dict.fromkeys(NULLABLE), {}) == ["", ""]
    assert reasons(STRICT, dict.fromkeys(NULLABLE), {"stop_words": 1}) == ["", "stop_words"]
    assert reasons(STRICT, dict.fromkeys(NULLABLE) | {"words": 10}) == ["min_words"]


@pytest.mark.parametrize(
    ("licence", "section", "reason"),
    [
        ("MIT", {}, ""),
        (None, {}, ""),
        ("MIT", {"allowed_licences": ["mit", "Apache-2.0"]}, ""),
        ("GPL-3.0", {"allowed_licences": ["MIT"]}, "licence"),
        (None, {"allowed_licences": ["MIT"]}, "licence"),
        ("gpl-3.0", {"denied_licences": ["GPL-3.0"]}, "licence"),
        (None, {"denied_licences": ["GPL-3.0"]}, ""),
    ],
)
def test_licences_are_allowed_or_denied_by_name(licence, section, reason):
    assert reasons(FilterSection(**section), {}, licence=licence) == [reason]


def test_opt_outs_are_respected_unless_the_recipe_says_otherwise():
    rows = ({"noai": True}, {"tdm_reserved": True})
    assert reasons(FilterSection(), *rows) == ["opt_out", "opt_out"]
    assert reasons(FilterSection(respect_opt_out=False), *rows) == ["", ""]
    assert reasons(FilterSection(), {"noindex": True}, {"noimageai": True, "nosnippet": True}) == ["", ""]


def test_the_first_rule_gives_the_reason():
    broken = {name: value for change in BREAKS.values() for name, value in change.items()}
    order = list(RULES)
    assert order.index("takedown") < order.index("opt_out") < order.index("language") < order.index("min_words")
    assert reasons(STRICT, broken) == ["opt_out"]
    assert reasons(STRICT, broken, takedown=Takedown.of(IDS)) == ["takedown"]


@pytest.mark.parametrize(
    ("entry", "gone"),
    [
        (IDS[0], [True, False]),
        (IDS[1].upper(), [False, True]),
        ("https://1.example.org/page", [False, True]),
        ("https://1.example.org/", [False, False]),
        ("0.example.org", [True, False]),
        ("Example.org", [True, True]),
        ("ample.org", [False, False]),
        ("*.example.org", [True, True]),
        (".1.example.org", [False, True]),
        ("https:\\\\1.EXAMPLE.org\\x\\..\\page  # by letter of Monday", [False, True]),
        ("0.example.org\t# by letter of Monday", [True, False]),
        ("1.example.org:443/page", [False, True]),
        ("1.example.org.:80/page", [False, True]),
        ("1.example.org:8080/page", [False, False]),
        ('"https://1.example.org/page",', [False, True]),
        ("'0.example.org'", [True, False]),
        ("„https://1.example.org/page“", [False, True]),
    ],
)
def test_takedown_goes_by_id_url_or_domain(entry, gone):
    result = reasons(FilterSection(), {}, {}, takedown=Takedown.of(["# asked for on Monday", "", entry]))
    assert result == ["takedown" if present else "" for present in gone]


@pytest.mark.parametrize(
    ("entry", "gone"),
    [
        ("192.0.2.1", [True, True, False, False, False]),
        ("'192.0.2.1',", [True, True, False, False, False]),
        ("http://192.0.2.1/page", [True, False, False, False, False]),
        ("192.0.2.1:8080/page", [False, True, False, False, False]),
        ("192.0.2.10", [False, False, True, False, False]),
        ("[2001:db8::1]", [False, False, False, True, True]),
        ("2001:0DB8:0:0::1  # by letter", [False, False, False, True, True]),
        ("http://[2001:db8:0::1]/page", [False, False, False, True, False]),
        ("[2001:db8::1]:81/page", [False, False, False, False, True]),
    ],
)
def test_takedown_goes_by_the_address_of_a_host(entry, gone):
    hosts = ("192.0.2.1", "192.0.2.1:8080", "192.0.2.10", "[2001:DB8::1]", "[2001:db8::1]:81")
    urls = [f"http://{host}/page" for host in hosts]
    assert Takedown.of([entry]).has(urls, urls).tolist() == gone


def test_rows_without_a_url_belong_to_no_domain():
    rows = ["part-0.jsonl#1", "part-0.jsonl#17", "a.part-0.jsonl#2", "https://part-0.jsonl/", "part-0.jsonl/#x"]
    assert Takedown.of(["part-0.jsonl"]).has(rows, rows).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    "line", ["abc", "not a domain", "https://", "a" * 31, "http://[broken", "192.0.2.0/24", "192.0.2", "[::1"]
)
def test_a_line_that_names_nothing_is_an_error_with_its_place(line):
    with pytest.raises(ValueError, match=r"list.txt:2: .* is no doc id \(32 hex digits\), URL"):
        Takedown.of(["example.org", line], "list.txt")


def test_redactions_never_overlap_and_leave_nothing_of_the_chosen_kinds():
    random_ = np.random.default_rng(3)
    kinds = ["email", "ip", "phone", "secret"]
    for _ in range(200):
        starts = random_.integers(0, 60, 8)
        findings = [
            {"start": int(start), "end": int(start + random_.integers(1, 15)), "kind": str(random_.choice(kinds))}
            for start in starts
        ]
        selected = choose_redactions(findings, ["email", "phone"])
        assert selected == choose_redactions(findings[::-1], ["phone", "email"])
        expected = {
            location for f in findings if f["kind"] in ("email", "phone") for location in range(f["start"], f["end"])
        }
        assert {location for span in selected for location in range(span["start"], span["end"])} == expected
        assert all(one["end"] <= other["start"] for one, other in pairwise(selected))


def test_redacted_text_has_the_kind_in_place_of_what_stood_there():
    text = "Mail jane@gmail.com or 93.184.216.34."
    spans = [{"start": 5, "end": 19, "kind": "email"}, {"start": 23, "end": 36, "kind": "ip"}]
    assert redact(text, spans) == "Mail <EMAIL> or <IP>."
    assert redact(text, []) == text
