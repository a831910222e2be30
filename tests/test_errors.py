"""Every exception of the packages is below one root, and errors that a user can fix are below `UserError`."""

import ast
import doctest
import importlib
from collections import Counter
from functools import cache
from pathlib import Path

import arctic_errors
from arctic_errors import ArcticError, UserError
from data_recipes import RecipeError

ROOT = Path(__file__).parents[1]
PACKAGES = ("arctic_model", "data_recipes", "infra", "pipelines")


@cache
def raised_classes() -> list[tuple[str, str]]:
    """Module and name of every class that is named as an exception, in the source: the result does not depend on
    imports."""
    result = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and node.name.endswith(("Error", "Exception")):
                    result.append((module, node.name))
    return result


def test_the_classes_are_seen():
    assert len(raised_classes()) > 30
    assert ("data_recipes.section", "RecipeError") in raised_classes()


def test_every_exception_descends_from_the_root():
    classes = [getattr(importlib.import_module(module), name) for module, name in raised_classes()]
    assert [kind for kind in classes if not issubclass(kind, ArcticError)] == []


def test_no_two_exceptions_share_a_name():
    assert [name for name, count in Counter(name for _, name in raised_classes()).items() if count > 1] == []


def test_the_tree_in_the_docstring_names_every_public_exception():
    assert doctest.testmod(arctic_errors).failed == 0
    drawn = arctic_errors.__doc__ or ""
    handled_inside = {"MissingColumnError", "PackingError", "UnsoundError", "PlainError", "TooLargeError"}
    handled_inside |= {"UndecodablePageError", "UndecodableCodeError", "PeerError", "StalledError", "ChatError"}
    handled_inside |= {"DifferenceError", "UnsupportedError", "TemplateError"}
    handled_inside |= {"MissingObjectError", "ExistsError", "ChangedObjectError", "ForeignFormatError"}
    missing = [name for _, name in raised_classes() if name not in drawn and not name.startswith("_")]
    assert set(missing) <= handled_inside


def test_a_mistake_in_a_recipe_is_the_users_to_mend():
    assert issubclass(RecipeError, UserError)
    assert issubclass(RecipeError, ValueError)
