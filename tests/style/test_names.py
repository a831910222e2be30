"""Names in the code are nouns that describe their value, in the words of the field."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIALECT = {
    # Participles and nouns that may hold anything.
    *("found", "place", "places", "kept", "wanted", "told", "there", "known", "chosen", "given", "facts"),
    # Private words for which the field has its own, such as comm stream, async handle, shard, actor pool
    # and fingerprint.
    *("lane", "flight", "crossing", "stretch", "spread", "settle", "judge", "company", "crew", "walk", "pin", "pins"),
}
CEILING_PERCENT = 0.3
"""Share of the assigned names of a package, of its tests or of its benchmarks that may be on the list."""


@pytest.mark.parametrize("package", ["arctic_model", "data_recipes", "infra", "pipelines", "tests", "benchmarks"])
def test_few_names_are_words_that_name_nothing(package):
    names = Counter[str]()
    for path in (ROOT / package).rglob("*.py"):
        names.update(assigned_names(ast.parse(path.read_text())))
    of_dialect = {name: count for name, count in names.most_common() if name in DIALECT}
    percent = 100 * sum(of_dialect.values()) / names.total()
    assert percent <= CEILING_PERCENT, f"{percent:.2f} % of the names in {package}: {of_dialect}"


def test_every_kind_of_assignment_is_counted():
    code = """
def f(parameter, *, option=1):
    left, right = parameter
    annotated: int = 0
    for item in left: pass
    with right as opened: pass
    return [each for each in item if (walrus := each)]
"""
    names = {"parameter", "option", "left", "right", "annotated", "item", "opened", "each", "walrus"}
    assert set(assigned_names(ast.parse(code))) == names


def assigned_names(tree: ast.AST) -> list[str]:
    """Names that a module assigns: variables, parameters, loop and comprehension targets."""
    variables = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    parameters = [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
    return [name.strip("_") for name in (*variables, *parameters)]
