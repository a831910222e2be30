"""The exports of the packages: these names, documented with examples that run, typed, and light to import."""

import doctest
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.servers.local_ray import local_ray

ROOT = Path(__file__).parents[1]
EXPORTED = {
    "data_recipes": """
        ArcticError CorpusRecipe Location RecipeError RunRecipe Section UserError load_corpus load_recipe load_run
        parse_recipe
    """,
    "infra": """
        ArcticError Artifact ClusterError Inputs Resources RunResult ShardResult Stage StageContext StageResult Store
        StoreError UserError map_shards run
    """,
    "pipelines": """
        ArcticError Document NotInStoreError OptionError Recipe RunPlan RunResult StageResult UserError deduplicate
        extract load_recipe pack_texts plan read_documents run score_documents train_tokenizer
    """,
}
NAMES = [(package, name) for package, names in EXPORTED.items() for name in names.split()]
EXAMPLES = sorted(
    file for package in EXPORTED for file in (ROOT / package).rglob("*.py") if ">>> " in file.read_text("utf-8")
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray for all examples: each would start its own."""
    with local_ray(num_cpus=2):
        yield


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("package", EXPORTED)
def test_the_exported_names_are_these(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(EXPORTED[package].split())
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_every_exported_name_is_documented_with_an_example(package: str, name: str) -> None:
    exported = getattr(importlib.import_module(package), name)
    text = inspect.getdoc(exported) or ""
    assert text
    is_section = package == "data_recipes" and isinstance(exported, type)
    is_error = isinstance(exported, type) and issubclass(exported, Exception)
    assert ">>> " in text or is_section or is_error


@pytest.mark.parametrize("package", EXPORTED)
def test_no_exported_name_is_that_of_a_module(package: str) -> None:
    """Importing the module would replace the exported name."""
    modules = {path.stem for path in (ROOT / package).iterdir()}
    assert modules & set(EXPORTED[package].split()) == set()


@pytest.mark.parametrize("package", EXPORTED)
def test_another_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        getattr(importlib.import_module(package), "Nothing")  # noqa: B009


@pytest.mark.parametrize("package", EXPORTED)
def test_the_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("package", ["infra", "pipelines"])
def test_importing_a_package_imports_nothing_heavy(package: str) -> None:
    heavy = {"ray", "torch", "mlflow", "pyarrow", "numpy", "pydantic"}
    code = f"import sys, {package}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.usefixtures("cluster", "untracked")
@pytest.mark.parametrize("file", EXAMPLES, ids=module_name)
def test_the_examples_of_a_module_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    name = module_name(file)
    tests = [test for test in doctest.DocTestFinder().find(importlib.import_module(name), name) if test.examples]
    assert tests
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0, test.name
