"""`make check` runs the tests in the folder of the changed file."""

from pathlib import Path

import pytest

from tests.changed import tests_of as select_tests

FILES = (
    "tests/style/test_names.py",
    "tests/docs/test_pages.py",
    "tests/test_examples.py",
    "tests/test_errors.py",
    "tests/data_recipes/test_load.py",
    "tests/pipelines/fit/test_fit.py",
    "tests/docs/test_reference.py",
    "tests/infra/test_store.py",
    "tests/infra/host/test_doctor.py",
    "tests/infra/host/conftest.py",
)
RECIPE_TESTS = ["tests/data_recipes/test_load.py", "tests/docs/test_reference.py", "tests/pipelines/fit/test_fit.py"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "selected"),
    [
        ("infra/store.py", ["tests/infra/test_store.py"]),
        ("infra/host/doctor.py", ["tests/infra/host/test_doctor.py"]),
        ("infra/host/new/module.py", ["tests/infra/host/test_doctor.py"]),
        ("tests/infra/host/conftest.py", ["tests/infra/host/test_doctor.py"]),
        ("tests/infra/test_store.py", ["tests/infra/test_store.py"]),
        ("tests/infra/store.py", ["tests/infra/test_store.py"]),
        ("tests/infra/test_deleted.py", ["tests/infra/test_store.py"]),
        ("data_recipes/sections/inputs.py", RECIPE_TESTS),
        ("arctic_errors.py", ["tests/test_errors.py", "tests/test_examples.py"]),
        ("examples/own_source.py", ["tests/test_examples.py"]),
        ("docs/index.md", ["tests/docs/test_pages.py", "tests/docs/test_reference.py"]),
        ("pyproject.toml", []),
        ("README.md", ["tests/docs/test_pages.py", "tests/docs/test_reference.py"]),
    ],
)
def test_the_tests_of_a_file_lie_in_the_folder_that_mirrors_its_own(
    tree: Path, changed: str, selected: list[str]
) -> None:
    assert select_tests([changed], tree) == sorted(["tests/style/test_names.py", *selected])
