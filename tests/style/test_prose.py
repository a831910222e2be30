"""The prose for users is plain technical English: README, guides, decisions, help texts and descriptions of fields."""

import ast
import re
import subprocess
import sys
from inspect import cleandoc
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
DOCSTRINGS_PER_1000_WORDS = {
    "what-clause": 8.5,
    "where for if": 4.0,
    "things that say or tell": 2.0,
    "archaic verbs": 2.5,
}
"""Of docstrings, which address who reads the code: as measured, so that no change makes them harder to read."""
PACKAGES = ("arctic_model", "data_recipes", "infra", "pipelines")
YOU_PER_1000_WORDS = 10.0
"""Guides address the reader: README, tutorials and how-tos have at least this many "you" and "your"."""


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


@pytest.fixture(scope="module")
def code() -> dict[str, ast.Module]:
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


@pytest.mark.parametrize("habit", HABITS)
def test_the_prose_keeps_to_its_budget(habit, texts):
    require_budget(habit, texts, BUDGET_PER_1000_WORDS[habit])


@pytest.mark.parametrize("habit", HABITS)
def test_error_messages_keep_to_the_budget_of_the_prose(habit, code):
    texts = {source: prose("\n\n".join(messages(tree))) for source, tree in code.items()}
    require_budget(habit, texts, BUDGET_PER_1000_WORDS[habit])


@pytest.mark.parametrize("habit", HABITS)
def test_docstrings_keep_to_their_budget(habit, code):
    texts = {source: prose("\n\n".join(docstrings(tree))) for source, tree in code.items()}
    require_budget(habit, texts, DOCSTRINGS_PER_1000_WORDS[habit])


def test_messages_and_docstrings_are_seen():
    tree = ast.parse('''"""Of the module."""\nLIMIT = 1\n"""Of the name."""\nraise ValueError(f"{LIMIT} is too low")''')
    assert messages(tree) == [" is too low"]
    assert docstrings(tree) == ["Of the module.", "Of the name."]


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


def require_budget(habit: str, texts: dict[str, str], budget: float) -> None:
    words = sum(len(text.split()) for text in texts.values())
    hits = [f"{source}: {hit}" for source, text in texts.items() for hit in passages(HABITS[habit], text)]
    rate = 1000 * len(hits) / words
    assert rate <= budget, f"{rate:.2f} per 1,000 of {words} words:\n" + "\n".join(hits)


def messages(tree: ast.Module) -> list[str]:
    """The strings of errors that are raised, without the values in them."""
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    return [part.value for error in raised for part in ast.walk(error) if is_string(part)]


def docstrings(tree: ast.Module) -> list[str]:
    """The docstrings of modules, classes and functions, and the strings below names that describe them."""
    expressions = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    return [cleandoc(value.value) for value in expressions if is_string(value)]


def is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


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
