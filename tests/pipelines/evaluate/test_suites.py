"""The tasks of a suite, the number of their items, and the inputs of an evaluation's key."""

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from data_recipes.section import RecipeError
from pipelines.evaluate.data import files as data
from pipelines.evaluate.data.files import data_files
from pipelines.evaluate.from_recipe import named_suite
from pipelines.evaluate.statistics.enterprise import BITS_PER_BYTE_PARTS, PARTS
from pipelines.evaluate.suites import LONG, SUITES, Suite
from pipelines.evaluate.tasks import built_in
from pipelines.evaluate.tasks.code import task as code
from pipelines.evaluate.tasks.harness import task as harness
from pipelines.evaluate.tasks.ifeval import task as ifeval
from pipelines.evaluate.tasks.long_context import task as long_context
from pipelines.evaluate.tasks.spider import task as spider

ELEVEN = "arc_easy arc_challenge boolq commonsense_qa copa hellaswag lambada_openai openbookqa piqa race winogrande"


def named(*names: str, limit: int | None = None) -> Suite:
    return named_suite(names, Path("nowhere"), limit)


def test_enterprise_asks_all_that_its_two_means_need() -> None:
    parts = {task for task, _ in PARTS} | {task for tasks in BITS_PER_BYTE_PARTS.values() for task in tasks}
    assert set(named("enterprise").tasks) == parts == {"humaneval_plus", "mbpp_plus", "spider", "ifeval", "gsm8k"}


def test_academic_asks_the_eleven_tasks_mmlu_and_gsm8k() -> None:
    assert set(named("academic").tasks) == {*ELEVEN.split(), "mmlu", "gsm8k"}


def test_smoke_asks_a_few_items_of_everything_and_short_answers() -> None:
    smoke = named("smoke")
    assert set(smoke.tasks) == {*named("enterprise").tasks, *named("academic").tasks}
    assert (smoke.limit, smoke.max_new_tokens) == (32, 64)
    assert (named("smoke", limit=5).limit, named("smoke", limit=5).max_new_tokens) == (5, 64)
    assert (named("enterprise").limit, named("enterprise").max_new_tokens) == (None, None)


def test_suites_and_tasks_may_be_named_together_and_each_task_is_asked_once() -> None:
    selected = named("spider", "enterprise", "academic", "mbpp_plus-v0.1.0").tasks
    assert len(set(selected)) == len(selected) == 5 + 12 + 1
    assert selected[0] == "spider"


def test_each_task_is_declared_once_and_suites_name_no_other() -> None:
    declared = [name for module in (code, harness, ifeval, long_context, spider) for name in module.TASKS]
    assert len(set(declared)) == len(declared)
    assert set(declared) == set(built_in())
    assert {name for names in SUITES.values() for name in names} <= set(declared)


def test_every_task_can_be_named_alone_and_reads_files_that_are_pinned() -> None:
    for name in built_in():
        for chat in (True, False):
            (task,) = named(name).build(chat)
            assert task.name == name
            assert set(task.files) <= set(data_files())
            assert bool(task.files) != (name in LONG), "texts with something to find are made, not read"
            assert task.protocol and task.headline


@pytest.mark.parametrize("name", ["spyder", "Enterprise", ""])
def test_unknown_name_is_told_with_all_that_there_are(name: str) -> None:
    names = "enterprise, academic, long_context, smoke, "
    with pytest.raises(RecipeError, match=f"'{name}': no such task or suite. There are {names}"):
        named("smoke", name)


def test_protocols_differ_where_a_chat_template_changes_what_is_asked() -> None:
    base = ("humaneval_plus-base", "mbpp_plus-bigcode", "spider-base", "spider-base-3_shot-plug_value", "ifeval-base")
    protocols: Any = named("smoke", "spider-3_shot", *base).params()["tasks"]
    reported = {name for name, ways in protocols.items() if ways["chat"] != ways["base"]}
    assert reported == {"humaneval_plus", "mbpp_plus", "spider", "ifeval", "spider-3_shot"}
    for name, ways in protocols.items():
        assert "without a chat template" in ways["base"], name
        assert ("in the chat template" if name in reported else "without a chat template") in ways["chat"], name


def test_key_follows_from_the_questions_and_the_data_and_not_from_where_they_lie(tmp_path: Path) -> None:
    def params(**fields: Any) -> dict[str, object]:
        return Suite(**{"tasks": ("race", "copa"), "root": tmp_path} | fields).params()

    before = params()
    assert before["data"] == {"copa/validation.jsonl.gz": "missing", "race/test.jsonl": "missing"}
    assert before == params(root=tmp_path / "elsewhere") == params(unsafe="i accept unsafe execution")
    assert before != params(limit=3)
    assert before != params(max_new_tokens=3)
    assert before != params(chat="never")
    assert before != params(tasks=("race",))


def test_numpy_in_programs_is_in_the_key_and_the_protocol_of_code_tasks_alone() -> None:
    named_tasks = ("humaneval_plus", "mbpp_plus-base", "spider", "gsm8k")
    without, with_numpy = Suite(named_tasks), Suite(named_tasks, numpy=True)
    reported = {task.name: task.protocol for task in with_numpy.build(chat=False)}
    before = {task.name: task.protocol for task in without.build(chat=False)}
    added = f", programs can import numpy {metadata.version('numpy')}"
    assert reported == {name: text + (added if "_plus" in name else "") for name, text in before.items()}
    assert with_numpy.params() != without.params()
    assert {*with_numpy.packages()} - {*without.packages()} == {"numpy"}


def test_key_follows_from_what_a_file_says(tmp_path: Path) -> None:
    """A pinned one has the content of its pin, or is refused; RACE, which has none, is read."""
    suite = Suite(("race", "copa"), tmp_path)
    seen = [suite.params()["data"]]
    for text in ("one", "two"):
        for file in ("race/test.jsonl", "copa/validation.jsonl.gz"):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(text)
        seen.append(suite.params()["data"])
    nothing, first, second = seen
    fingerprint = data.data_files()["copa/validation.jsonl.gz"].sha256
    assert first["copa/validation.jsonl.gz"] == second["copa/validation.jsonl.gz"] == fingerprint
    assert len({content["race/test.jsonl"] for content in (nothing, first, second)}) == 3


def test_long_texts_have_the_sizes_that_the_suite_names() -> None:
    short = Suite(LONG, long_context_bytes=(600, 1200))
    tasks = short.build(chat=False)
    assert {(item.gold["length"], item.gold["depth"]) for task in tasks for item in task.items()} == {
        (length, depth) for length in (600, 1200) for depth in (0.0, 0.25, 0.5, 0.75, 1.0)
    }
    assert all(len(item.prompt) < 1200 + 300 for task in tasks for item in task.items())
    assert short.params() != Suite(LONG).params()
