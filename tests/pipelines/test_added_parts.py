"""A part that is added to the project: the files that it takes, counted in a copy of the packages."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("arctic_errors.py", "arctic_model", "data_recipes", "docs", "infra", "pipelines")
Run = Callable[[str], object]

SECTION = '''
class CountdownInput(InputSection):
    """Generated countdowns."""

    implementation = "pipelines.source.generated.countdown:Countdown"
    kind: Literal["countdown"]
    """Kind of input: `"countdown"`."""
    start: PositiveInt
    """First number of a countdown."""


'''
KIND = """
from dataclasses import dataclass

from data_recipes.sections.inputs import CountdownInput
from pipelines.source.generated.documents import generated_document
from pipelines.source.protocol import InputSplit


class Countdown(CountdownInput):
    def fingerprint(self, folder):
        return {"generator": 1}

    def splits(self, fingerprint, folder):
        yield InputSplit(Numbers(self.start))


@dataclass(frozen=True)
class Numbers:
    start: int

    def read(self, sink):
        text = " ".join(map(str, range(self.start, -1, -1)))
        sink.write(generated_document(text, "countdown", origin="countdown", split="train"))
"""
USE_KIND = """
import json, sys
from pathlib import Path

import pipelines
from data_recipes import RecipeError, parse_recipe
from docs.generate import pages
from pipelines.source import fingerprint
from pipelines.source.document_sink import DocumentSink
from pipelines.source.from_recipe import plan

def page(**fields):
    return {"name": "c", "description": "d", "source": {"inputs": [{"kind": "countdown", **fields}]}}

class Collected(list):
    def write(self, document):
        self.append(document.text)
        return len(document.text)

corpus = parse_recipe(page(start=3))
planned = pipelines.plan(corpus, "store")
texts = Collected()
for split in plan(corpus.source, fingerprint(corpus.source, Path()), Path()):
    split.reader.read(DocumentSink(Path(), "cascade", 0.0, texts))
try:
    parse_recipe(page(start=0))
except RecipeError as error:
    mistake = str(error)
print(json.dumps({
    "stages": [each.stage.id for each in planned.stages],
    "texts": texts,
    "mistake": mistake,
    "documented": sorted(str(path.relative_to(Path.cwd())) for path, text in pages().items() if "countdown" in text),
}))
"""

TASK = """
from dataclasses import dataclass

from pipelines.evaluate.engine.requests import LogLikelihood
from pipelines.evaluate.task import Item, Share, Verdict


@dataclass(frozen=True)
class Echo:
    name: str = "echo"
    headline: str = "greedy"
    protocol: str = "0-shot, log-likelihood of a repeated word"
    files: tuple[str, ...] = ()
    runs: str = ""
    packages: tuple[str, ...] = ()

    def items(self):
        return [Item("echo/0", (LogLikelihood("river, river,", " river"),), "river", " river")]

    def score(self, items, answers):
        return [Verdict({"greedy": Share(float(given[0].is_greedy), 1.0)}, "", "") for given in answers]


TASKS = {"echo": lambda options: Echo()}
"""
USE_TASK = """
import json
from pathlib import Path

import pipelines
from docs.generate import pages
from pipelines.evaluate.from_recipe import named_suite

path = Path("data_recipes/runs/quickstart.toml")
planned = pipelines.plan(pipelines.load_recipe(path, ['evaluate.tasks=["echo"]']), "store")
[task] = named_suite(["echo"], Path(), None).build(chat=False)
print(json.dumps({
    "planned": [stage.id for stage in planned.to_build if "echo" in json.dumps(stage.params)],
    "asked": [item.prompt for item in task.items()],
    "documented": sorted(str(path.relative_to(Path.cwd())) for path, text in pages().items() if "`echo`" in text),
}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        source, target = ROOT / package, tmp_path / package
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "images"))
        else:
            shutil.copy(source, target)
    return tmp_path


def run(copy: Path, program: str) -> Mapping[str, object]:
    """The JSON that a program prints about the packages of the copy."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    printed: Mapping[str, object] = json.loads(done.stdout)
    return printed


def test_a_kind_of_input_takes_its_section_and_its_class(copy: Path) -> None:
    inputs = copy / "data_recipes/sections/inputs.py"
    before, mark, after = inputs.read_text().partition("BUILT_IN: ")
    inputs.write_text(f"{before}{SECTION.lstrip()}{mark}{after}")
    (copy / "pipelines/source/generated/countdown.py").write_text(KIND)

    assert run(copy, USE_KIND) == {
        "stages": ["source[c]", "score[c]", "filter[c]", "dedup[c]"],
        "texts": ["3 2 1 0"],
        "mistake": "recipe: source.inputs.1.start = 0: must be above 0. Raise it.",
        "documented": ["data_recipes/schemas/corpus.schema.json", "docs/reference/recipes.md"],
    }


def test_a_task_takes_its_module(copy: Path) -> None:
    (copy / "pipelines/evaluate/tasks/echo.py").write_text(TASK)

    assert run(copy, USE_TASK) == {
        "planned": ["evaluate[1]", "evaluate[2]", "evaluate[3]", "evaluate[instruct]"],
        "asked": ["river, river,"],
        "documented": ["docs/reference/tasks.md"],
    }
