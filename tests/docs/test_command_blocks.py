"""Every block of commands or Python in README, tutorials and how-to guides runs as it is printed.

A page is run from top to bottom in one terminal, in a folder of its own with the recipes and examples of this
repository. A comment above a block may mark it:

    <!-- slow -->                                  runs with `pytest -m slow`, after the blocks above it
    <!-- slow, until Ctrl-C, listens on 5000 -->   runs beside the blocks below it
    <!-- not run: REASON -->                       needs a machine, an account or data that a test cannot have

A block with a title is a file: it is written under that name. STANDS_FOR has the few words in blocks that every reader
replaces, SERVERS the servers of others that a page needs, and `prepare` makes the reader's own files.
"""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.reader import ROOT, prepare
from tests.docs.terminal import Terminal

PAGES = [
    ROOT / "README.md",
    ROOT / "docs/index.md",
    *sorted(ROOT.glob("docs/tutorials/*.md")),
    *sorted(ROOT.glob("docs/how_to/*.md")),
]
MAX_NOT_RUN = 5
"""Blocks that no test runs, on all pages together."""
AFTER_THE_DEMO = ("README", "index", "first_hour", "laptop", "mlflow", "serving", "cluster", "long_context")
"""Pages whose reader has run `make demo`."""
LANGUAGES = {"bash", "python", "toml", "yaml", ""}
COMMAND = re.compile(r"^(?:\$ )?(?:arctic|export|make|pip|python|ray|lm_eval|curl|sbatch|kubectl|sky) ", re.MULTILINE)
MARK = r"(?:<!-- (?P<mark>slow|slow, until Ctrl-C, listens on \d+|not run: [^>]+) -->\n)?"
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

    @property
    def is_slow(self) -> bool:
        return self.mark.startswith("slow")

    @property
    def port(self) -> int | None:
        """Port of the server that the block starts."""
        return int(self.mark.rpartition(" ")[2]) if "until Ctrl-C" in self.mark else None


def blocks_of(page: Path) -> list[Block]:
    return [Block(*(part or "" for part in match.groups())) for match in BLOCK.finditer(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_quick_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    prepare(tmp_path)
    run([block for block in blocks_of(page) if block.is_run and not block.is_slow], tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.is_slow for block in blocks_of(page))], ids=lambda page: page.stem
)
def test_all_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path, demo_store: Callable[[Path], None]) -> None:
    prepare(tmp_path)
    if page.stem in AFTER_THE_DEMO:
        demo_store(tmp_path)
    run([*SERVERS.get(page.stem, ()), *(block for block in blocks_of(page) if block.is_run)], tmp_path)


def test_few_blocks_are_not_run_and_each_has_a_reason() -> None:
    skipped = [
        (page.name, block.mark) for page in PAGES for block in blocks_of(page) if block.mark.startswith("not run")
    ]
    assert len(skipped) <= MAX_NOT_RUN, skipped


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fence_and_mark_of_a_page_is_understood(page: Path) -> None:
    text, blocks = page.read_text(), blocks_of(page)
    assert {block.language for block in blocks} <= LANGUAGES
    assert len(blocks) * 2 == len(re.findall(r"^ *```", text, re.MULTILINE))
    assert sum(bool(block.mark) for block in blocks) == text.count("<!--")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_is_printed_as_output(page: Path) -> None:
    outputs = [block.code for block in blocks_of(page) if not block.language and not block.code.startswith("$ make")]
    indented = re.findall(r"(?<=\n\n)(?: {4}.*\n)+", BLOCK.sub("", page.read_text()))
    assert [text for text in (*outputs, *indented) if COMMAND.search(text.replace("    ", ""))] == []


@pytest.fixture(scope="module")
def demo_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Puts the store of a demo, which runs once, into a folder, as the page about free space moves a store, and Ray's
    token, which the demo has made, into the reader's home."""
    made: list[Path] = []

    def put(folder: Path) -> None:
        if not made:
            made.append(tmp_path_factory.mktemp("demo"))
            prepare(made[0])
            run([Block("slow", "bash", "", "make demo")], made[0])
        shutil.copytree(
            made[0] / "store",
            folder / "store",
            copy_function=os.link,
            ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts", "tracking.json", "*.lock", "leases"),
        )
        shutil.copytree(made[0] / RAY_TOKEN.parent, folder / RAY_TOKEN.parent)

    return put


RAY_TOKEN = Path("home/.local/state/arctic/ray_token")
"""Below a reader's folder."""
STANDS_FOR = {"/path/to/store": "$PWD/store"}
"""Words that every reader replaces. `41e1` are the letters of the run or job that was printed last."""
NAME = re.compile(r"(?<![/\w])[a-z]\w*-(?:\d{8}-\d{6}-)?([a-z0-9]{4})\b(?!/)")
"""Of a run or a job, and no folder."""
MODEL_SERVER = f"PYTHONPATH={ROOT} python {ROOT / 'tests/docs/model_server.py'} 8000"
SERVERS = {"annotate": [Block("slow, until Ctrl-C, listens on 8000", "bash", "", MODEL_SERVER)]}
"""Servers that the reader of a page has."""


def run(blocks: list[Block], folder: Path) -> None:
    with ExitStack() as ending:
        terminal = Terminal(folder, HOME=str(folder / "home"))
        ending.callback(terminal.close)
        output = ""
        for block in blocks:
            code = block.code
            for word, meaning in STANDS_FOR.items():
                code = code.replace(word, meaning)
            if names := NAME.findall(output):
                code = code.replace("41e1", names[-1])
            if block.file:
                (folder / block.file).write_text(code)
            elif block.port:
                output += terminal.serve(code, block.port)
            else:
                output += terminal.run(code, block.language)
        terminal.interrupt()
