"""Classes of the user's own: found by name, checked, and known by the digest of their code."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from infra.host.provenance import code_digest
from pipelines.extension import Extension, ExtensionError, load_class, with_fields


class Rule(Protocol):
    """The protocol that the tests require of a class."""

    label: str

    def keeps(self, row: Mapping[str, float]) -> bool: ...


RULE = """
from data_recipes import Section

class Enough(Section):
    label: str = "enough"
    least: int = 3

    def keeps(self, row):
        return row["links"] >= self.least

class Bare:
    label = "bare"
    def keeps(self, row): return True

class NoLabel(Section):
    def keeps(self, row): return True

class NoMethod(Section):
    label: str = "x"

class OtherMethod(Section):
    label: str = "x"
    def keeps(self): return True

not_a_class = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module(text, name, folder)` writes a module that is forgotten after the test; gives its folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = set(sys.modules)

    def module(text: str = RULE, name: str = "own_rules", folder: str = "recipes") -> Path:
        path = tmp_path / folder / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return tmp_path / folder

    yield module
    for name in set(sys.modules) - names:
        if name.startswith("own_"):
            del sys.modules[name]
    code_digest.cache_clear()


def forget() -> None:
    """As in a new process."""
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]
    code_digest.cache_clear()


def test_a_class_beside_the_recipe_is_made_with_its_checked_fields(module):
    extension = Extension.find("own_rules:Enough", {"least": 5}, Rule, module())
    rule = extension.make()
    assert (rule.label, rule.keeps({"links": 5}), rule.keeps({"links": 4})) == ("enough", True, False)


def test_a_class_in_the_working_folder_and_in_a_package_is_found_too(module, tmp_path, monkeypatch):
    module("", "own_package.__init__", "work")
    monkeypatch.chdir(module(RULE, "own_package.rules", "work"))
    assert Extension.find("own_package.rules:Enough", {}, Rule, tmp_path / "recipes").make().label == "enough"


def test_the_digest_follows_the_code_of_the_whole_package(module):
    module("LEAST = 1", "own_package.helpers")
    module("", "own_package.__init__")
    folder = module(RULE, "own_package.rules")
    before = Extension.find("own_package.rules:Enough", {}, Rule, folder)
    forget()
    assert Extension.find("own_package.rules:Enough", {}, Rule, folder) == before
    module("LEAST = 2", "own_package.helpers")
    forget()
    assert Extension.find("own_package.rules:Enough", {}, Rule, folder).code != before.code


def test_code_that_changed_after_the_plan_stops_the_work(module):
    planned = Extension.find("own_rules:Enough", {}, Rule, module())
    module(RULE.replace(">=", ">"))
    forget()
    with pytest.raises(ExtensionError, match="own_rules:Enough: its code changed since the run was planned"):
        planned.make()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("own_rules", "own_rules: not a class. Write it as package.module:Class."),
        ("own-rules:Enough", "own-rules:Enough: not a class"),
        ("own_gone:Enough", "no module 'own_gone' in this environment or in .*recipes.* Correct the name, or put"),
        ("own_rules.deep:Enough", "its module cannot be imported|no module 'own_rules.deep'"),
        ("own_rules:Enuogh", r"own_rules:Enuogh: .*own_rules.py has no class Enuogh. Did you mean Enough\?"),
        ("own_rules:Elsewhere", "has no class Elsewhere. Choose one of Section, Enough, Bare"),
        ("own_rules:not_a_class", "has no class not_a_class"),
        ("own_rules:NoLabel", "own_rules:NoLabel: it has no 'label', which Rule asks for. Add it to the class."),
        ("own_rules:NoMethod", r"it has no method keeps\(self, row\), which Rule asks for. Add"),
        ("own_rules:OtherMethod", r"its keeps\(self\) is not keeps\(self, row\), which Rule asks for"),
    ],
)
def test_a_class_that_cannot_be_used_is_named_with_the_mend(module, reference, message):
    with pytest.raises(ExtensionError, match=message):
        Extension.find(reference, {}, Rule, module())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n1 / 0\n", r"ZeroDivisionError: division by zero \(.*own_broken.py, line 2\). Correct that line."),
        ("x = 1\n\nclass (\n", r"SyntaxError: .* \(.*own_broken.py, line 3\)"),
        ("import own_absent\n", r"ModuleNotFoundError: No module named 'own_absent' \(.*own_broken.py, line 1\)"),
    ],
)
def test_a_fault_in_the_module_is_named_with_its_line(module, text, message):
    with pytest.raises(ExtensionError, match=f"own_broken:Rule: its module cannot be imported: {message}"):
        load_class("own_broken:Rule", Rule, [str(module(text, "own_broken"))])


def test_a_second_module_of_one_name_is_refused(module):
    Extension.find("own_rules:Enough", {}, Rule, module(folder="one"))
    with pytest.raises(ExtensionError, match="two modules are called own_rules: .*one.*, which is in use, and .*two"):
        Extension.find("own_rules:Enough", {}, Rule, module(folder="two"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"least": "many"}, "least = 'many': input should be a valid integer. Change the value."),
        ({"laest": 3}, "laest = 3: unknown field. Did you mean least?"),
    ],
)
def test_a_wrong_field_is_an_error_as_in_every_section(module, fields, message):
    result = load_class("own_rules:Enough", Rule, [str(module())])
    with pytest.raises(ExtensionError) as error:
        with_fields(result, fields)
    assert str(error.value) == message


def test_a_class_whose_fields_cannot_be_checked_is_refused(module):
    with pytest.raises(ExtensionError, match="own_rules:Bare: its fields cannot be checked. Derive the class from"):
        Extension.find("own_rules:Bare", {}, Rule, module()).make()
