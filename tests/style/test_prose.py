"""The prose for users is plain technical English: README, guides, decisions, help texts and descriptions of fields."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from data_recipes.section import Section

ROOT = Path(__file__).parents[2]
GENERATED = {"commands.md", "recipes.md"}

HABITS = {
    # "What a step was is the same everywhere": a clause that stands for a noun. A question may ask "what".
    "what-clause": r"\bwhat\b(?![^.!?]*\?)",
    # "A step is skipped where its norm is not finite". A noun of location, or a verb of asking, may precede "where".
    "where for if": r"(?<!folder )(?<!file )(?<!line )(?<!node )(?<!machine )(?<!path )(?<!show )(?<!shows )"
    r"(?<!see )(?<!know )\bwhere\b(?! to\b)(?! from\b)(?![^.!?]*\?)",
    # "The manifest says", "MLflow is told": things do not speak; they contain, list, name or report.
    "things that say or tell": r"\b(?:says?|said|tells?|told)\b",
    # "Beside it stands then": an inverted or archaic verb.
    "archaic verbs": r"\b(?:stands?|stood|hangs? on|anew|thereof|is had|are had|is asked of|held against)\b",
}
"""Patterns of habits that make a text hard to read, in lower case."""
BUDGET_PER_1000_WORDS = {
    "what-clause": 0.5,
    "where for if": 0.3,
    "things that say or tell": 0.3,
    "archaic verbs": 0.3,
}
YOU_PER_1000_WORDS = 10.0
"""Guides address the reader: README, tutorials and how-tos have at least so many "you" and "your"."""


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Prose by its source, without code."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    texts = {str(page.relative_to(ROOT)): prose(page.read_text()) for page in pages if page.name not in GENERATED}
    for section in Section.__subclasses__():
        fields = [field.description or "" for field in section.model_fields.values()]
        texts[section.__name__] = prose("\n\n".join([section.__doc__ or "", *fields]))
    command = [sys.executable, "-m", "typer", "pipelines.cli", "utils", "docs"]
    texts["help"] = prose(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    return texts


@pytest.mark.parametrize("habit", HABITS)
def test_the_prose_keeps_to_its_budget(habit, texts):
    words = sum(len(text.split()) for text in texts.values())
    hits = [f"{source}: {hit}" for source, text in texts.items() for hit in passages(HABITS[habit], text)]
    rate = 1000 * len(hits) / words
    assert rate <= BUDGET_PER_1000_WORDS[habit], f"{rate:.2f} per 1,000 of {words} words:\n" + "\n".join(hits)


def test_guides_address_the_reader(texts):
    guides = [text for source, text in texts.items() if source.startswith(("README", "docs/tutorials", "docs/how_to"))]
    words = sum(len(text.split()) for text in guides)
    you = sum(len(re.findall(r"\byour?s?\b", text)) for text in guides)
    assert 1000 * you / words >= YOU_PER_1000_WORDS


@pytest.mark.parametrize(
    ("habit", "sentence"),
    [
        ("what-clause", "What a step was is the same wherever it is trained."),
        ("where for if", "A step is skipped where its norm is no number."),
        ("things that say or tell", "The manifest says which."),
        ("archaic verbs", "Only what hangs on it is built anew."),
    ],
)
def test_each_habit_is_recognized(habit, sentence):
    assert passages(HABITS[habit], prose(sentence))


@pytest.mark.parametrize("sentence", ["What does it cost?", "Open the folder where the store is.", "Run `say`."])
def test_a_question_a_location_and_code_are_no_habit(sentence):
    assert not [hit for pattern in HABITS.values() for hit in passages(pattern, prose(sentence))]


def prose(markdown: str) -> str:
    """The sentences of a page in lower case: without code, comments, addresses and markup."""
    text = re.sub(r"^( *)```.*?^\1```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^    .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`\n]*`|\]\([^)]*\)|[*|#>\[\]]", " ", text)
    return text.lower()


def passages(pattern: str, text: str) -> list[str]:
    """Each match with the words around it."""
    flat = " ".join(text.split())
    return [flat[max(0, hit.start() - 40) : hit.end() + 30] for hit in re.finditer(pattern, flat)]
