"""The import rules of pyproject.toml report a breach planted anywhere, in files that exist and in new ones."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_recipes.sections.inputs import BUILT_IN

ROOT = Path(__file__).parents[2]
PACKAGES = ("data_recipes", "arctic_model", "infra", "pipelines")
BREACHES = {
    # module that imports -> the module that it must not import; a module that does not exist yet is made
    "arctic_model.moe.router": "deepspeed",
    "arctic_model.moe.new_router": "deepspeed",
    "arctic_model.training.loop": "deepspeed",
    "arctic_model.sizing.memory": "torch",
    "arctic_model.presets": "torch",
    "arctic_model.checkpoint.reading": "mlflow",
    "arctic_model.kernels.rows": "arctic_model.moe.experts",
    "arctic_model.config": "infra.store",
    "infra.doctor.machine": "mlflow",
    "infra.runner": "pipelines.graph",
    "infra.fanout": "torch",
    "data_recipes.load": "ray",
    "data_recipes.schema": "arctic_model.config",
    "pipelines.source.io.http_client": "torch",
    "pipelines.dedup.kernels": "ray",
    "pipelines.score.new_score": "ray",
    "pipelines.replay": "ray",
    "pipelines.filter.rules": "pipelines.cli.recipes.plan",
    "pipelines.mix.budgets": "pipelines.session",
    "pipelines.tokenize.packing": "pipelines.dedup.minhash",
    "pipelines.evaluate.suites": "pipelines.train.job",
    "pipelines.artifacts.tokenization.tokens": "pipelines.tokenize.packing",
    "pipelines.graph.chain": "pipelines.recipes",
    "pipelines.report.page": "mlflow",
    "pipelines.session": "rich",
}
NEW_MODULE = "pipelines.new_module"
"""It is not assigned to a layer."""
CIRCLE = ("infra.store.store", "infra.runner")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of lint-imports about a copy of the packages with every breach planted."""
    copy = tmp_path_factory.mktemp("breaches")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "arctic_errors.py"):
        shutil.copy(ROOT / file, copy)
    for module, imported in [*BREACHES.items(), CIRCLE]:
        plant(copy, module, f"import {imported}")
    plant(copy, NEW_MODULE, "")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "1000"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def plant(copy: Path, module: str, line: str) -> None:
    file = copy / Path(*module.split(".")).with_suffix(".py")
    before = file.read_text() if file.exists() else ""
    file.write_text(f"{before}\n{line}\n")


@pytest.mark.parametrize("module", BREACHES)
def test_a_planted_import_is_reported(report: str, module: str) -> None:
    assert f"{module} -> {BREACHES[module]} (l." in report


def test_a_module_that_is_on_no_layer_is_reported(report: str) -> None:
    assert NEW_MODULE in report


def test_a_circle_is_reported(report: str) -> None:
    circles = report[report.rindex("No circles") :]
    assert "No cycles are allowed in infra" in circles


def test_the_errors_below_all_packages_import_nothing() -> None:
    """By source, since import-linter takes packages and `arctic_errors` is a module."""
    tree = ast.parse((ROOT / "arctic_errors.py").read_text(encoding="utf-8"))
    assert not [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


SECTIONS = "data_recipes.sections.inputs"
KINDS = {kind.implementation.partition(":")[0] for kind in BUILT_IN}
"""Modules of the kinds of input, each of which is its section of the recipe with methods, as a class of a user's is."""
STAGES = "source score annotate filter dedup tokenize mix train finetune evaluate export serve ablate report lineage"
ADAPTERS = re.compile(r"(?:stage|\w+_stage|from_recipe|\w+_of_recipe)\.py")
"""Files between a recipe or a graph and the library modules of a stage."""


def module_of(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".")


def recipe_and_graph_imports(source: str, is_kind: bool = False) -> list[str]:
    """Imports of recipes, but for the section of a kind of input, of Stage and of ShardResult; import-linter compares
    modules, and only these two names of theirs are meant."""
    result = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
            names = {alias.name for alias in node.names}
            is_graph = module.startswith("infra") and names & {"Stage", "ShardResult"}
            is_recipe = module.partition(".")[0] == "data_recipes" and not (is_kind and module == SECTIONS)
            if is_recipe or is_graph:
                result.append(ast.unparse(node))
    return result


def test_library_modules_of_stages_know_no_recipe_and_no_graph() -> None:
    folders = [ROOT / "pipelines" / stage for stage in STAGES.split()]
    files = {file.relative_to(ROOT).as_posix(): file for folder in folders for file in folder.rglob("*.py")}
    assert len(files) > 150
    breaches = {
        name: imports
        for name, file in files.items()
        if not ADAPTERS.fullmatch(file.name)
        and (imports := recipe_and_graph_imports(file.read_text("utf-8"), module_of(name) in KINDS))
    }
    assert breaches == {}


@pytest.mark.parametrize(
    "line",
    [
        "from data_recipes import RecipeError",
        "import data_recipes.schema",
        "from infra.stage import Metrics, Stage",
        "def late():\n    from infra.fanout import ShardResult",
    ],
)
def test_an_import_of_a_recipe_or_of_the_graph_is_seen(line: str) -> None:
    assert recipe_and_graph_imports(line)


def test_only_a_kind_of_input_may_know_its_section() -> None:
    line = f"from {SECTIONS} import WarcInput"
    assert recipe_and_graph_imports(line)
    assert not recipe_and_graph_imports(line, is_kind=True)
    assert recipe_and_graph_imports("from data_recipes import RecipeError", is_kind=True)
