"""Profiles set the limits that a recipe leaves open, and limits on words follow the language."""

import tomllib
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest

from data_recipes.sections.refining import FilterSection, Profile
from pipelines import score_documents
from pipelines.artifacts.languages.words import ALIASES, RELATIVE_WORD_LENGTHS, STOP_WORDS
from pipelines.artifacts.scores import SCORES
from pipelines.filter import FilterInputs, stage
from pipelines.filter.rules import decide
from pipelines.filter.takedown import Takedown
from tests.kit.stages import idle_stage
from tests.pipelines.filter.test_filter_rules import FAIR

PROFILES = Path(__file__).parents[3] / "data_recipes" / "profiles"
PAGES = {name: tomllib.loads((PROFILES / f"{name}.toml").read_text(encoding="utf-8")) for name in get_args(Profile)}


SOURCE = idle_stage("source", "web")


def reasons(section: FilterSection, *rows: dict) -> list[str]:
    table = pa.Table.from_pylist([{"doc_id": "a" * 32, **FAIR, **row} for row in rows], schema=SCORES)
    documents = pa.table({"url": [""] * len(rows), "licence": pa.nulls(len(rows), pa.string())})
    return decide(table, documents, section, Takedown.of([])).tolist()


@pytest.mark.parametrize("profile", PAGES)
def test_a_profile_sets_what_the_recipe_leaves_open(profile):
    page = PAGES[profile]
    assert page.items() <= FilterSection(profile=profile).model_dump().items()
    own = {"min_words": 7, "max_newlines_per_word": 0.25}
    resolved = FilterSection(profile=profile, **own).model_dump()
    assert resolved == FilterSection(**page | own).model_dump() | {"profile": profile}
    assert all(FilterSection().model_dump()[limit] != value for limit, value in page.items()), "repeats a default"


def test_a_result_depends_on_the_limits_and_not_on_the_name_of_their_profile():
    def key(section: FilterSection) -> str:
        return stage("web", section, {"takedown": []}, Path(), FilterInputs(SOURCE, SOURCE)).key

    assert key(FilterSection(profile="web")) == key(FilterSection(**PAGES["web"])) != key(FilterSection())


def test_a_menu_is_dropped_from_a_crawl_and_a_reference_page_is_kept_as_documentation():
    menu = {"short_lines_fraction": 0.9}
    reference = {"duplicate_line_fraction": 0.5, "mean_word_length": 11.0, "symbol_to_word_ratio": 0.15}
    assert reasons(FilterSection(profile="web"), menu, reference) == ["short_lines", "max_mean_word_length"]
    assert reasons(FilterSection(profile="docs"), menu, reference) == ["", ""]


def test_short_conversations_are_kept_and_answers_in_a_loop_are_not():
    remaining = [
        "Which number of the river table comes after 5?\n\nThe number after 5 in the river table is 6.",
        "What is the capital of France?\n\nThe capital of France is Paris.",
        "Repeat after me: I will not chew gum in class.\n\nI will not chew gum in class.",
    ]
    loops = ["Name a river.\n\n" + "the river " * 40, "Tell me a story.\n\n" + "I am a robot and I eat cake. " * 15]

    def verdicts(profile: Profile | None) -> list[bool]:
        scores = score_documents([*remaining, *loops])
        return [not each for each in reasons(FilterSection(profile=profile), *scores.drop(["doc_id"]).to_pylist())]

    assert verdicts("chat") == [True, True, True, False, False]
    assert verdicts(None) == [False] * 5


def test_limits_on_word_length_follow_the_language_once_it_is_certain():
    def reason(language: str, length: float, margin: float = 0.3) -> str:
        row = {"language": language, "language_margin": margin, "mean_word_length": length}
        return reasons(FilterSection(), row)[0]

    assert [reason("en", 9.9), reason("en", 10.1), reason("en", 2.9)] == [
        "",
        "max_mean_word_length",
        "min_mean_word_length",
    ]
    assert [reason("ml", 12.4), reason("ml", 12.4, margin=0.05)] == ["", "max_mean_word_length"]
    assert [reason("fi", 15.0), reason("fi", 4.0)] == ["", "min_mean_word_length"]
    assert [reason("vi", 7.0), reason("unknown", 9.9)] == ["max_mean_word_length", ""]


def test_the_table_of_languages_is_complete():
    assert len(STOP_WORDS) >= 30 and len(RELATIVE_WORD_LENGTHS) >= 30
    assert set(ALIASES.values()) - {"tl"} <= set(STOP_WORDS)
    assert RELATIVE_WORD_LENGTHS["en"] == 1.0
    assert all(0.6 < length < 3.0 for length in RELATIVE_WORD_LENGTHS.values())
    assert all(len(words) >= 8 for words in STOP_WORDS.values())
