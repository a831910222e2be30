"""Every file of this repository that a page or the code names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("arctic_model", "pipelines", "infra", "data_recipes", "tests", "benchmarks", "examples", "docs")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
PATH = re.compile(rf"\b(?:{'|'.join(FOLDERS)})/[\w/.-]*\.(?:py|toml|md|yaml|tsv)\b")
MODULE = re.compile(r"`(\w+\.py)`")
OWN_FILE = re.compile(r"title=\"([^\"]+)\"")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_that_a_page_names_exist(page):
    text = page.read_text()
    assert [path for path in sorted(set(PATH.findall(text))) if not (ROOT / path).exists()] == []
    code = [*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
    modules = {path.name for path in code}
    assert set(MODULE.findall(text)) <= modules | set(OWN_FILE.findall(text))


def test_readme_leads_to_every_page():
    text = (ROOT / "README.md").read_text()
    folders = ("tutorials", "how_to", "explanation", "reference")
    pages = [*(ROOT / "docs").glob("*.md"), *(page for name in folders for page in (ROOT / "docs" / name).glob("*.md"))]
    # The site alone shows its start page and the Python API.
    linked = [str(page.relative_to(ROOT)) for page in pages if page.stem not in ("index", "api")]
    assert [page for page in sorted(linked) if f"({page})" not in text] == []


def test_the_files_that_the_code_names_exist():
    code = [path for folder in FOLDERS if folder != "tests" for path in (ROOT / folder).rglob("*.py")]
    named = {(str(path.relative_to(ROOT)), name) for path in code for name in PATH.findall(path.read_text())}
    assert named
    assert [(path, name) for path, name in sorted(named) if not (ROOT / name).exists()] == []
