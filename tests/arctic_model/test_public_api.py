"""The exports of `arctic_model`: every example in its docstrings runs, and planning needs no torch."""

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import arctic_model

PACKAGE = Path(arctic_model.__file__).parent
EXPORTED = """
ArcticConfig ArcticError ArcticModel CheckpointError ExpertGroup GenerationError MoEOutput Routing RoutingBalance
Sampling SparseMoE Stream StreamWindow UserError preset routing_balance sizing
"""
SIZING = """
GPUS Bill ForwardFlops Gpu Memory ParallelConfig ParameterCount StepTime Traffic bill count_parameters
forward_flops_per_token memory_per_worker step_time traffic training_flops_per_token
"""
EXAMPLES = sorted(file for file in PACKAGE.rglob("*.py") if ">>> " in file.read_text(encoding="utf-8"))


def test_the_exported_names_are_these() -> None:
    assert arctic_model.__all__ == EXPORTED.split()
    assert set(arctic_model.__all__) <= set(dir(arctic_model))
    assert arctic_model.sizing.__all__ == SIZING.split()


@pytest.mark.parametrize("name", arctic_model.__all__)
def test_every_exported_name_can_be_imported_and_is_documented(name: str) -> None:
    exported = getattr(arctic_model, name)
    assert inspect.getdoc(exported)


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'GPT'"):
        getattr(arctic_model, "GPT")  # noqa: B009


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_examples_of_a_module_run(file: Path) -> None:
    name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    tests = [test for test in doctest.DocTestFinder().find(importlib.import_module(name), name) if test.examples]
    assert tests
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0, test.name


@pytest.mark.parametrize(
    "code",
    [
        "import arctic_model",
        "from arctic_model import ArcticConfig, ArcticError, UserError, preset",
        "import arctic_model; arctic_model.sizing",
        "import arctic_model.presets, arctic_model.sizing.step_time, arctic_model.sizing.memory",
    ],
)
def test_planning_imports_no_torch(code: str) -> None:
    command = [sys.executable, "-c", f"import sys; {code}; sys.exit('torch' in sys.modules)"]
    assert subprocess.run(command, check=False).returncode == 0
