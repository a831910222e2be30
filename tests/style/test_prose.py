"""Prose is plain technical English: README, guides, help texts, recipe fields, messages, docstrings, comments."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from inspect import cleandoc
from pathlib import Path

import pytest

from tests.kit.sections import declared_sections

ROOT = Path(__file__).parents[2]
GENERATED = {"commands.md", "recipes.md", "tasks.md"}

HABITS = {
    # A clause that stands for a noun. A question may ask for it.
    "what-clause": r"\bwhat\b(?![^.!?]*\?)",
    # A condition that looks like a location. A noun of location, or a verb of asking, may precede the word.
    "where for if": r"(?<!folder )(?<!file )(?<!line )(?<!node )(?<!machine )(?<!path )(?<!show )(?<!shows )"
    r"(?<!see )(?<!know )\bwhere\b(?! to\b)(?! from\b)(?![^.!?]*\?)",
    # Things do not speak; they contain, list, name or report.
    "things that say or tell": r"\b(?:says?|said|tells?|told)\b",
    "archaic verbs": r"\b(?:stands?|stood|hangs? on|anew|thereof|is had|are had|is asked of|held against)\b",
    # "A file is the same whatever the order", "it has a room of its own", "the same but for rounding".
    "private idioms": r"\b(?:whatever|whoever|wherever|but for|the mend|an? \w+ of (?:its|their) own)\b",
}
"""Patterns of habits that make a text hard to read, in lower case."""
BUDGET_PER_1000_WORDS = {
    "what-clause": 0.5,
    "where for if": 0.3,
    "things that say or tell": 0.3,
    "archaic verbs": 0.3,
    "private idioms": 0.3,
}
PACKAGES = ("arctic_model", "data_recipes", "infra", "pipelines")
READ_IN = {
    "messages": PACKAGES,
    "docstrings": (*PACKAGES, "benchmarks", "docs", "examples", "tests"),
    "comments": (*PACKAGES, "benchmarks", "docs", "examples", "tests"),
}
"""Folders by kind of prose. Strings of tests and benchmarks are data as well as messages."""
YOU_PER_1000_WORDS = 10.0
"""Guides address the reader: README, tutorials and how-tos have at least this many "you" and "your"."""


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Prose by its source, without code."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    texts = {str(page.relative_to(ROOT)): prose(page.read_text()) for page in pages if page.name not in GENERATED}
    for section in declared_sections():
        fields = [field.description or "" for field in section.model_fields.values()]
        texts[section.__name__] = prose("\n\n".join([section.__doc__ or "", *fields]))
    command = [sys.executable, "-m", "typer", "pipelines.cli", "utils", "docs"]
    texts["help"] = prose(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    return texts


@pytest.fixture(scope="module", params=READ_IN)
def code(request) -> dict[str, str]:
    """One kind of prose in the code, by file."""
    files = [file for folder in READ_IN[request.param] for file in sorted((ROOT / folder).rglob("*.py"))]
    own = Path(__file__)
    return {
        str(file.relative_to(ROOT)): prose_in(request.param, file.read_text(encoding="utf-8"))
        for file in [ROOT / "arctic_errors.py", *files]
        if file != own
    }


@pytest.mark.parametrize("habit", HABITS)
def test_the_prose_keeps_to_its_budget(habit, texts):
    require_budget(habit, texts)


@pytest.mark.parametrize("habit", HABITS)
def test_the_prose_in_code_keeps_to_the_same_budget(habit, code):
    require_budget(habit, code)


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("docstrings", '"""Of a module.\n\nA step is skipped where its norm is not finite.\n"""'),
        (
            "docstrings",
            'def f(x):\n    """Do it.\n\n    Args:\n        x: Skipped where its norm is not finite.\n    """',
        ),
        ("docstrings", 'LIMIT = 1\n"""Skipped where its norm is not finite."""'),
        ("docstrings", '"""Do it.\n\n    >>> 1\n    1\n\nSkipped where its norm is not finite."""'),
        ("comments", "x = 1\n# A step is skipped\n# where its norm is not finite.\n"),
        ("comments", "x = 1  # skipped where its norm is not finite\n"),
        ("messages", 'raise ValueError(f"step {1} is skipped where its norm is not finite")'),
        ("messages", 'def fault(norm):\n    return f"skipped where its norm is {norm}"'),
    ],
)
def test_a_planted_sentence_is_found(kind, source):
    text = prose_in(kind, source)
    assert passages(HABITS["where for if"], text)
    with pytest.raises(AssertionError, match=r"(?s)per 1,000 of .* words:.*planted\.py: .*where its norm"):
        require_budget("where for if", {"planted.py": text, "good.py": "A plain sentence. " * 500})


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("docstrings", '"""Do it.\n\n    >>> print("where")\n    where\n\n```\nSELECT a WHERE b\n```\n"""'),
        ("comments", 'x = "# where"  # noqa: E501\n'),
        ("messages", '"""Where it is no message."""\nquery = "SELECT WHERE"'),
    ],
)
def test_code_is_not_prose(kind, source):
    assert not passages(HABITS["where for if"], prose_in(kind, source))


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
        ("private idioms", "It runs in a process of its own, whatever the order."),
    ],
)
def test_each_habit_is_recognized(habit, sentence):
    assert passages(HABITS[habit], prose(sentence))


@pytest.mark.parametrize("sentence", ["What does it cost?", "Open the folder where the store is.", "Run `say`."])
def test_a_question_a_location_and_code_are_no_habit(sentence):
    assert not [hit for pattern in HABITS.values() for hit in passages(pattern, prose(sentence))]


def require_budget(habit: str, texts: dict[str, str]) -> None:
    words = sum(len(text.split()) for text in texts.values())
    hits = [f"{source}: {hit}" for source, text in texts.items() for hit in passages(HABITS[habit], text)]
    rate = 1000 * len(hits) / words
    assert rate <= BUDGET_PER_1000_WORDS[habit], f"{rate:.2f} per 1,000 of {words} words:\n" + "\n".join(hits)


def prose_in(kind: str, source: str) -> str:
    return "\n\n".join({"messages": messages, "docstrings": docstrings, "comments": comments}[kind](source))


def messages(source: str) -> list[str]:
    """Strings of several words other than docstrings: errors, warnings, help texts, reports, without their values."""
    tree = ast.parse(source)
    described = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node.value for node in ast.walk(tree) if is_string(node) and node not in described]
    return [plain(text) for text in texts if len(text.split()) >= 4 and not re.search(r"\bSELECT\b", text)]


def docstrings(source: str) -> list[str]:
    """The docstrings of modules, classes and functions, and the strings below names, without code."""
    expressions = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)]
    return [plain(cleandoc(value.value)) for value in expressions if is_string(value)]


def comments(source: str) -> list[str]:
    """Comments, with those on consecutive lines joined."""
    lines: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# noqa", "# type:", "#!")):
            lines[token.start[0]] = token.string.lstrip("# ")
    joined = "".join(("\n\n" if number - 1 not in lines else "\n") + text for number, text in lines.items())
    return [plain(text) for text in joined.split("\n\n") if text]


def plain(text: str) -> str:
    """The sentences of a docstring in lower case: indented text belongs to it, examples and code do not."""
    text = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^ *>>>.*?(?:\n *\n|\Z)", "\n\n", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"``.*?``|`[^`]*`", " ", text).lower()


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
    """Each match with the words around it; a sentence does not go on in the next paragraph."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]
    return [
        paragraph[max(0, hit.start() - 40) : hit.end() + 30]
        for paragraph in paragraphs
        for hit in re.finditer(pattern, paragraph)
    ]
