"""Every name that a benchmark takes from the packages is still there: nothing else runs all benchmarks."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("arctic_errors", "arctic_model", "data_recipes", "infra", "pipelines")
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))


def imported(script: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each import from the packages, also inside functions."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            yield from ((node.module, alias.name) for alias in node.names)


def names_of(module: str) -> set[str]:
    """Names that the source of a module defines or imports or lists in `__all__`, and the modules below it."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = {below.stem for below in path.iterdir()} if path.is_dir() else set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and file.name == "__init__.py":
            names.add(node.value)
    return names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_a_benchmark_imports_exists(script: Path):
    missing = [f"{module}.{name}" for module, name in imported(script) if name not in names_of(module)]
    assert not missing


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda script: script.stem)
def test_a_benchmark_finds_the_project_s_own_modules_alone(script: Path, tmp_path: Path):
    """In any folder, and without the path that pytest adds. Peers may be missing."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, script, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    own = {*PACKAGES, "tests", *(each.stem for each in SCRIPTS)}
    assert not own & set(re.findall(r"No module named '(\w+)", done.stderr)), done.stderr
    assert "ImportError" not in done.stderr, done.stderr


def test_a_name_that_moved_is_noticed(tmp_path: Path):
    script = tmp_path / "old.py"
    script.write_text("def run():\n    from pipelines.mix.simulator import simulate\n", encoding="utf-8")
    assert [name for module, name in imported(script) if name not in names_of(module)] == ["simulate"]
