"""A task of the user's own, as a class that a recipe names: asked like any other, known by its code."""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from arctic_model.checkpoint.reading import STATE, TrainingState
from data_recipes.section import RecipeError
from data_recipes.sections.evaluation import TaskSection
from infra.context import StageContext
from infra.host.provenance import code_digest
from pipelines import evaluate
from pipelines.artifacts.evaluation import Scores
from pipelines.evaluate.from_recipe import named_suite
from pipelines.evaluate.suites import Suite
from pipelines.models.source import ModelSource

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_task.py"
BOUND = """
from own_task import Capitals as Base

class Capitals(Base):
    def bind(self, root, chat):
        return self.model_copy(update={"num_items": 2 if chat else 1})
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of a recipe, with the example's module in it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    shutil.copy(EXAMPLE, tmp_path)
    (tmp_path / "bound.py").write_text(BOUND)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """As in a new process."""
    for module in ("own_task", "bound"):
        sys.modules.pop(module, None)
    code_digest.cache_clear()


def suite(folder: Path, *tasks: str | TaskSection) -> Suite:
    return named_suite(tasks, folder, None, folder=folder)


def capitals(kind: str = "own_task:Capitals", **fields: object) -> TaskSection:
    return TaskSection.model_validate({"kind": kind, **fields})


def test_a_checkpoint_is_scored_on_it(folder: Path, our_model: ModelSource, tmp_path: Path) -> None:
    asked = suite(folder, capitals(num_items=3))
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(our_model.checkpoint, checkpoint)
    (checkpoint / STATE).write_text(json.dumps(asdict(TrainingState(7, 7168, [], [], 7, [], [], []))))
    stage = evaluate.checkpoint_stage("toy", checkpoint, our_model.tokenizer, asked, evaluate.Execution())
    out = tmp_path / "out"
    out.mkdir()
    stage.work(StageContext(stage.id, out, tmp_path / "state", [].append), {})
    scores = Scores.read(out)
    assert scores.scores["capitals/acc"].n == 3
    assert scores.protocols["capitals"] == "0-shot, log-likelihood of the cities"


def test_its_code_and_fields_are_part_of_the_key(folder: Path) -> None:
    before = suite(folder, capitals()).params()
    assert suite(folder, capitals(num_items=3)).params() != before
    forget()
    (folder / "own_task.py").write_text(EXAMPLE.read_text() + "\n")
    assert suite(folder, capitals()).params() != before


def test_built_in_tasks_keep_their_params(folder: Path) -> None:
    assert "own" not in suite(folder, "ifeval").params()


def test_it_is_bound_to_the_data_and_to_the_way_of_asking(folder: Path) -> None:
    asked = suite(folder, capitals("bound:Capitals"))
    assert [len(asked.build(chat)[0].items()) for chat in (False, True)] == [1, 2]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (capitals("own_task:Towns"), r"evaluate\.tasks\.1\.kind = own_task:Towns: .*no class Towns"),
        (capitals("own_task:Sequence"), r"evaluate\.tasks\.1\.kind = own_task:Sequence: it has no"),
        (capitals(num_items="all"), r"evaluate\.tasks\.1\.num_items = 'all'"),
    ],
)
def test_a_class_that_cannot_be_asked_is_named(folder: Path, task: TaskSection, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        suite(folder, task)


def test_two_tasks_of_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match="has the name 'capitals' of another task"):
        suite(folder, capitals(), capitals(num_items=3))
