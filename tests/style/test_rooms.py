"""The size of folders and files."""

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("data_recipes", "arctic_model", "infra", "pipelines")
CODE = (*PACKAGES, "tests", "examples", "benchmarks", "docs")
MAX_FILES, MAX_LINES = 12, 400


def python_files(*folders: str) -> list[Path]:
    return [file.relative_to(ROOT) for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("package", (*PACKAGES, "tests"))
def test_a_folder_holds_at_most_twelve_python_files(package: str) -> None:
    counts = Counter(file.parent.as_posix() for file in python_files(package))
    assert {folder: count for folder, count in counts.items() if count > MAX_FILES} == {}


def test_a_file_holds_at_most_four_hundred_lines() -> None:
    lines = {file.as_posix(): len((ROOT / file).read_bytes().splitlines()) for file in python_files(*CODE)}
    assert {file: count for file, count in lines.items() if count > MAX_LINES} == {}
