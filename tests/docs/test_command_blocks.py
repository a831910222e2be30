"""Every block of commands or Python in README, tutorials and how-to guides runs as it is printed.

A page is run from top to bottom in a separate folder, which has this repository's recipes and examples. A comment above
a block may mark it:

    <!-- slow -->               runs with `pytest -m slow`, after the blocks above it
    <!-- not run: REASON -->    needs a cluster, a server or data that a test cannot have

A block with a title is a file: it is written under that name.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "docs/index.md",
    *sorted(ROOT.glob("docs/tutorials/*.md")),
    *sorted(ROOT.glob("docs/how_to/*.md")),
]
MAX_NOT_RUN = 19
"""Blocks that no test runs, on all pages together."""
LANGUAGES = {"bash", "python", "toml", ""}
MARK = r"(?:<!-- (?P<mark>slow|not run: [^>]+) -->\n)?"
OPENING = r"```(?P<language>\w*)(?: title=\"(?P<file>[^\"]+)\")?\n"
BLOCK = re.compile(rf"^{MARK}{OPENING}(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    mark: str
    language: str
    file: str
    code: str

    @property
    def is_run(self) -> bool:
        """A block without a language shows output."""
        return not self.mark.startswith("not run") and bool(self.language or self.file)


def blocks_of(page: Path) -> list[Block]:
    return [Block(*(part or "" for part in match.groups())) for match in BLOCK.finditer(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_quick_blocks_of_a_page_run(page, tmp_path):
    run([block for block in blocks_of(page) if block.is_run and block.mark != "slow"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.mark == "slow" for block in blocks_of(page))],
    ids=lambda page: page.stem,
)
def test_all_blocks_of_a_page_run_in_order(page, tmp_path):
    run([block for block in blocks_of(page) if block.is_run], tmp_path)


def test_few_blocks_are_not_run_and_each_has_a_reason():
    skipped = [
        (page.name, block.mark) for page in PAGES for block in blocks_of(page) if block.mark.startswith("not run")
    ]
    assert len(skipped) <= MAX_NOT_RUN, skipped


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fence_and_mark_of_a_page_is_understood(page):
    text = page.read_text()
    assert {block.language for block in blocks_of(page)} <= LANGUAGES
    assert len(blocks_of(page)) * 2 == len(re.findall(r"^ *```", text, re.MULTILINE))
    assert sum(bool(block.mark) for block in blocks_of(page)) == text.count("<!--")


def run(blocks: list[Block], folder: Path) -> None:
    for name in ("data_recipes", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for block in blocks:
        if block.file:
            (folder / block.file).write_text(block.code)
            continue
        command = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
        done = subprocess.run([*command, block.code], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr}"
