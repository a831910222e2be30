"""Lines of code are distinguished from prose, and are judged by separate limits."""

import sysconfig
from pathlib import Path

import pyarrow as pa
import pytest

from data_recipes.sections.refining import FilterSection, ScoreSection
from pipelines.artifacts.scores import SCORES
from pipelines.filter.rules import decide
from pipelines.filter.takedown import Takedown
from pipelines.score import fingerprint
from pipelines.score.from_recipe import load_scorer
from pipelines.score.text.characters import Characters
from pipelines.score.text.code_lines import code_lines
from pipelines.score.text.layout import layout

SECTION = ScoreSection()
SAID = (
    "A timer counts down in the background and calls you back when it is done. You can have several of them at once, "
    "and each of them keeps the arguments that it was made with. "
)
LISTINGS = {
    "javascript": "\n".join(
        [
            "function wait{n}(ms) {{",
            "  return new Promise((resolve) => {{",
            "    setTimeout(resolve, ms * {n});",
            "  }});",
            "}}",
        ]
    ),
    "c": "\n".join(
        [
            "static int step_{n}(struct timer *t)",
            "{{",
            "    if (t->left == 0) {{",
            "        return -{n};",
            "    }}",
            "    t->left -= {n};",
            "    return 0;",
            "}}",
        ]
    ),
    "css": "\n".join(
        [
            ".timer-{n} {{",
            "  display: grid;",
            "  gap: {n}px;",
            "}}",
            ".timer-{n} > li {{",
            "  color: #33{n};",
            "}}",
        ]
    ),
    "json": "\n".join(
        [
            "{{",
            '  "timer": "t{n}",',
            '  "left": {n},',
            '  "calls": [',
            '    "wake",',
            '    "ring{n}"',
            "  ]",
            "}}",
        ]
    ),
    "python": "\n".join(
        [
            "class Timer{n}:",
            "    def __init__(self, left):",
            "        self.left = left * {n}",
            "",
            "    def ring(self):",
            "        if self.left:",
            "            return None",
            "        return self.call({n})",
        ]
    ),
    "sql": "\n".join(
        [
            "CREATE TABLE timer_{n} (",
            "    id INTEGER PRIMARY KEY,",
            "    left_{n} INTEGER NOT NULL",
            ");",
            "SELECT id FROM timer_{n} WHERE left_{n} = {n};",
        ]
    ),
    "html": "\n".join(
        [
            '<ul class="timers-{n}">',
            '  <li id="t{n}">One</li>',
            '  <li id="u{n}">Two</li>',
            "</ul>",
        ]
    ),
    "rust": "\n".join(
        [
            "impl Timer{n} {{",
            "    pub fn ring(&self) -> Option<u32> {{",
            "        match self.left {{",
            "            0 => Some({n}),",
            "            _ => None,",
            "        }}",
            "    }}",
            "}}",
        ]
    ),
    "shell": "\n".join(
        [
            'for i in "$@"; do',
            '  if [ "$i" = "t{n}" ]; then',
            '    sleep "${{LEFT:-{n}}}" && echo "done: $i" >> log_{n}.txt',
            "  fi",
            "done",
        ]
    ),
}
TOLD = (
    "Before anything can ring, somebody has to decide how long the silence before it will be.",
    "The caller hands over a function, and nothing else is known about it until the time has come.",
    "If two of them end in the same moment, the one that was started first is served first.",
    "Nobody likes to wait for a clock that has stopped, so check that it still moves.",
    "A good name helps: the next reader will look for what it does, not for how.",
    "Errors are passed on to whoever asked, with the place where they began.",
    "You may wonder why zero is allowed here; it stands for as soon as possible.",
    "What is left over at night is thrown away in the morning, and the list starts empty.",
    "Try it with a hundred thousand of them, and have a look at the memory that they take.",
    "This last step is for people who have to support machines without any display.",
)
PROSE = [
    "Opening hours: Monday to Friday; Saturday by appointment only; closed on holidays.",
    "The old song (a hymn, really) was sung by Smith & Sons, and by no one else; so they say.",
    "Home > Shop > Shoes > Boots",
    "Home | About | Contact | Imprint",
    "Mr & Mrs Green; Mr & Mrs Brown; Mr & Mrs White",
    "#autumn #leaves #weekend @jane @john",
    "Prices: $5.99, $7.49 and $12.00 [1] [2] [edit]",
    "Goals: Miller (12'), Berg (45'), Rossi (90')",
    "1903 \t\tHenri Roux;",
    "See https://example.org/a_b_c?d=e&f=g and https://example.org/h_i?j=k",
    "------------------------------",
    "* * *",
    "Q: Why? A: Because!",
    "C++ and C# are languages, and so is F#.",
    "=== Chapter 2 ===",
]


def lines_of(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def found_in(text: str) -> list[str]:
    codes = Characters(text).codes
    marked = code_lines(codes, layout(codes))
    return [line for line, is_code in zip(lines_of(text), marked, strict=True) if is_code]


def scores_and_reason(text: str, section: FilterSection | None = None) -> tuple[dict, str]:
    scorer = load_scorer(SECTION, fingerprint(SECTION, Path()), Path())
    row = scorer.score(text, "", None).row
    table = pa.Table.from_pylist([{"doc_id": "0" * 32, **row}], schema=SCORES)
    documents = pa.table({"url": [""], "licence": pa.array([None], pa.string())})
    return dict(row), decide(table, documents, section or FilterSection(), Takedown.of([]))[0]


@pytest.mark.parametrize("language", LISTINGS)
def test_listings_between_paragraphs_are_found_whole(language):
    blocks = [LISTINGS[language].format(n=n) for n in (7, 8)]
    text = f"{SAID}\n\n{blocks[0]}\n\n{SAID}\n\n{blocks[1]}\n\n{SAID}"
    assert found_in(text) == lines_of("\n".join(blocks))


def test_lines_of_prose_are_no_code():
    assert found_in("\n".join(PROSE)) == []
    assert found_in("\n".join([*PROSE, SAID] * 3)) == []


@pytest.mark.parametrize("language", LISTINGS)
def test_a_page_that_explains_code_is_kept_though_its_brackets_repeat(language):
    """One listing grows from section to section, as in tutorials; the prose between them is new each time."""
    text = "\n\n".join(f"{said}\n\n{LISTINGS[language].format(n=n)}" for n, said in enumerate(TOLD, start=1))
    assert scores_and_reason(text)[1] == ""


def test_repeated_prose_between_listings_is_dropped_all_the_same():
    text = "\n\n".join(f"{SAID}\n\n{LISTINGS['c'].format(n=n)}" for n in range(1, 11))
    assert scores_and_reason(text)[1] in ("duplicate_lines", "duplicate_paragraphs")


def test_code_that_repeats_itself_is_dropped_by_its_own_limit():
    text = "\n".join(LISTINGS["c"].format(n=3) for _ in range(30))
    row, reason = scores_and_reason(text)
    assert row["code_lines_fraction"] == 1 and row["prose_words"] == 0
    assert reason == "duplicate_code"
    assert scores_and_reason(text, FilterSection(max_duplicate_code_characters_fraction=1.0))[1] == ""
    assert scores_and_reason(text, FilterSection(max_code_lines_fraction=0.9))[1] == "code_lines"


def test_files_of_code_pass_the_default_limits():
    """Modules of the standard library, none of which is prose; small ones are short."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    names = (
        "argparse",
        "bisect",
        "calendar",
        "csv",
        "dataclasses",
        "difflib",
        "fractions",
        "heapq",
        "tempfile",
        "zipfile/__init__",
    )
    files = [folder / f"{name}.py" for name in names]
    reasons = {file.name: scores_and_reason(file.read_text(encoding="utf-8"))[1] for file in files if file.is_file()}
    assert len(reasons) >= 8
    assert {name: reason for name, reason in reasons.items() if reason} == {}
