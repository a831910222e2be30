"""The program in an answer: the kept part of the text around it, and of the program itself."""

import ast
import random

import pytest

from pipelines.evaluate.tasks.code.extraction import extract, longest_python

CHAT = """Sure! Here is a solution:

```python
from math import pi

LIMIT = 3

def helper(x):
    return x * LIMIT

def unused(x):
    return x

def area(r):
    return helper(r) * pi

print(area(2))
```

It multiplies, and that is it.
"""
PIECES = [
    "def f(x):",
    "    return x",
    "x = (1,",
    "     2)",
    "Here is the code:",
    "```python",
    "",
    '"""',
    "a b",
    "f'{x!}'",
    "if x:",
    "  y = 1",
    "    y = 2",
    "word",
    "x = [1, 2",
    "s = 'open",
    "@decorator",
    "# note",
    "1 = x",
    "else:",
    "print(x y)",
]


def parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def brute_force(text: str) -> str:
    """Every run of lines, as EvalPlus tries them."""
    lines = text.split("\n")
    runs = [
        lines[i:j] for i in range(len(lines)) for j in range(i + 1, len(lines) + 1) if parses("\n".join(lines[i:j]))
    ]
    longest = max(runs, key=lambda run: sum(bool(line.strip()) for line in run), default=[])
    return "\n".join(longest)


def filled(text: str) -> int:
    return sum(bool(line.strip()) for line in text.split("\n"))


def test_prose_goes_and_what_the_function_needs_stays() -> None:
    program = extract([CHAT], "area")
    assert program.split("\n")[0] == "from math import pi"
    for part in ("LIMIT = 3", "def helper(x):\n    return x * LIMIT", "def area(r):"):
        assert part in program
    assert "unused" not in program
    assert "print" not in program


@pytest.mark.parametrize(
    ("answer", "kept", "gone"),
    [
        ("def f(x):\n    return 1\n\ndef f(x):\n    return 2\n", "return 1", "return 2"),  # the first definition counts
        ("def f(x):\n    return x\n\ndef f_is_cut(x):\n    y = [1,", "return x", "cut"),
        ("@cache\ndef g(x):\n    return x\n\ndef f(x):\n    return g(x)\n", "@cache\ndef g", "print"),
        ('def f(x):\n    """ Doc. """\n\ndef f(x):\n    return 2\n', "return 2", "Doc"),  # but not that of a prompt
        ("def g(x):\n    yield x\n\ndef f(x):\n    return list(g(x))\n", "yield x", "print"),
        ("a, b = 1, 2\nc = 3\n\ndef f(x):\n    return b\n", "a, b = 1, 2", "c = 3"),
        ("class A:\n    n = 1\n\ndef f(x):\r\n    return A.n\r\n", "class A", "\r"),
    ],
)
def test_definitions_are_kept_by_evalplus_rules(answer: str, kept: str, gone: str) -> None:
    program = extract([answer], "f")
    assert kept in program
    assert gone not in program
    assert parses(program)


def test_the_text_that_defines_the_function_is_taken() -> None:
    body = "    return x + 1\n"
    assert extract([body, "def f(x):\n" + body], "f") == "def f(x):\n    return x + 1\n"
    assert extract(["No idea.", "None at all."], "f").strip() == ""


def test_the_longest_python_is_that_of_trying_every_run_of_lines() -> None:
    draw = random.Random(0)
    for _ in range(300):
        text = "\n".join(draw.choices(PIECES, k=draw.randint(1, 14)))
        assert filled(longest_python(text)) == filled(brute_force(text)), text


def test_a_long_answer_takes_few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: (attempts.append(text), parse(text))[1])
    longest_python("\n".join(PIECES[4] for _ in range(400)))
    assert len(attempts) <= 800
