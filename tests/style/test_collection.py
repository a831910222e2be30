"""Collecting the tests imports no package that only some of them need, so running one test stays quick."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("ray", "mlflow", "deepspeed", "transformers", "openai", "pandas", "scipy", "sklearn", "moto", "fastapi", "trl")
IMPORT_THEM = ("nltk",)
"""Packages that import some of HEAVY."""
READ_BY_NUMBA = ("scipy",)
"""Packages of HEAVY whose version numba reads; their modules load when they are used."""
NEED_NO_TORCH = ("data_recipes", "infra", "pipelines/source", "pipelines/filter", "pipelines/dedup", "pipelines/graph")
MAX_SECONDS = 15.0
"""Of a core; 9.4 were measured on two busy ones."""
COLLECT = """
import json, sys, time
import pytest
code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[1:]])
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"code": int(code), "loaded": sorted(loaded), "seconds": time.process_time()}))
"""


def collect(*arguments: str) -> dict[str, object]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", COLLECT, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    collected: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    assert collected["code"] == 0, done.stdout[-3000:]
    return collected


def test_tests_of_recipes_data_and_machines_are_collected_without_torch() -> None:
    collected = collect("--assert=plain", *(f"tests/{folder}" for folder in NEED_NO_TORCH))
    assert {"torch", *HEAVY} & set(collected["loaded"]) == set()


def imported_at_once(source: str) -> set[str]:
    """Packages that a test file imports while it is collected, some by `pytest.importorskip`."""
    packages: set[str] = set()
    for statement in ast.parse(source).body:
        match statement:
            case ast.Import(names=names):
                packages |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                packages.add(module)
            case ast.Expr(value=ast.Call() as call) | ast.Assign(value=ast.Call() as call):
                if ast.unparse(call.func) == "pytest.importorskip":
                    packages.add(ast.literal_eval(call.args[0]))
    return {package.partition(".")[0] for package in packages}


def test_no_test_file_imports_a_heavy_package_before_it_is_needed() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    imported = {str(file.relative_to(ROOT)): imported_at_once(file.read_text(encoding="utf-8")) for file in files}
    assert {"pytest", "numpy"} <= set().union(*imported.values())
    heavy = {file: packages & {*HEAVY, *IMPORT_THEM} for file, packages in imported.items()}
    assert {file: packages for file, packages in heavy.items() if packages} == {}


@pytest.mark.parametrize(
    "line", ["import ray", "from ray import serve", 'ray = pytest.importorskip("ray")', 'pytest.importorskip("ray")']
)
def test_an_import_at_the_top_is_seen(line: str) -> None:
    assert imported_at_once(line) == {"ray"}
    assert not imported_at_once(f"def test_it():\n    {line}\n")


@pytest.mark.slow
def test_all_tests_are_collected_within_seconds_and_without_heavy_packages() -> None:
    collect()  # writes the bytecode
    collected = collect()
    assert set(HEAVY) & set(collected["loaded"]) <= set(READ_BY_NUMBA)
    assert collected["seconds"] < MAX_SECONDS
