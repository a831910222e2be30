"""Every exception of the packages hangs below one root, and what a user can mend below `UserError`."""

import ast
import doctest
import importlib
from collections import Counter
from pathlib import Path

import pytest

import arctic_errors
from arctic_errors import ArcticError, UserError
from data_recipes import RecipeError

ROOT = Path(__file__).parents[1]
PACKAGES = ("arctic_model", "data_recipes", "infra", "pipelines")


def raised_classes() -> list[tuple[str, str]]:
    """Module and name of every class that is named as an exception, in the source: no import decides what is seen."""
    found = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and node.name.endswith(("Error", "Exception")):
                    found.append((module, node.name))
    return found


CLASSES = raised_classes()


def test_the_classes_are_seen():
    assert len(CLASSES) > 30
    assert ("data_recipes.section", "RecipeError") in CLASSES


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_every_exception_descends_from_the_root(module: str, name: str):
    assert issubclass(getattr(importlib.import_module(module), name), ArcticError)


def test_no_two_exceptions_share_a_name():
    assert [name for name, count in Counter(name for _, name in CLASSES).items() if count > 1] == []


def test_the_tree_in_the_docstring_names_every_public_exception():
    assert doctest.testmod(arctic_errors).failed == 0
    drawn = arctic_errors.__doc__ or ""
    handled_inside = {"MissingColumnError", "PackingError", "UnsoundError", "PlainError", "TooLargeError"}
    handled_inside |= {"UndecodablePageError", "UndecodableCodeError", "PeerError", "StalledError", "ChatError"}
    handled_inside |= {"DifferenceError", "UnsupportedError", "TemplateError"}
    handled_inside |= {"MissingObjectError", "ExistsError", "ChangedObjectError"}
    missing = [name for _, name in CLASSES if name not in drawn and not name.startswith("_")]
    assert set(missing) <= handled_inside


def test_a_mistake_in_a_recipe_is_the_users_to_mend():
    assert issubclass(RecipeError, UserError)
    assert issubclass(RecipeError, ValueError)
