"""Generated programming tasks: a kept task was executed, and one that fails or answers wrongly is dropped."""

import ast
import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.artifacts.conversations import read_conversation
from pipelines.artifacts.documents import Document
from pipelines.source.code_chat import chats
from pipelines.source.code_chat.chats import CodeChats
from pipelines.source.code_chat.operations import RESULTS, STEPS
from pipelines.source.code_chat.tasks import Task, draw_task
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.input_folder import InputFolder
from tests.kit.documents import Collected

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")


def code_chats(count: int, seed: int = 1) -> CodeChats:
    return CodeChats(kind="code_chat", num_tasks=count, seed=seed)


def read(kind: CodeChats, folder: Path) -> tuple[list[Document], Counter[str]]:
    target = Collected()
    sink = DocumentSink(folder, "all_text", 0.2, target)
    for split in kind.splits({}, InputFolder(folder)):
        split.reader.read(sink)
    return target.documents, sink.counts


def test_the_value_in_an_answer_is_what_the_program_before_it_returns(tmp_path: Path) -> None:
    """The oracle executes the text of the conversation itself."""
    documents, counts = read(code_chats(60), tmp_path)

    assert counts["documents"] == len(documents) > 20
    assert counts["documents"] + counts["skipped_program_failed"] == 60
    assert {document.split for document in documents} == {"train", "heldout"}
    for document in documents:
        chat = read_conversation(document.text, document.attributes)
        assert chat
        _, program, example, value = (turn.content for turn in chat.turns)
        names: dict[str, object] = {}
        exec(program.removeprefix("```python\n").removesuffix("```"), names)
        [function] = (each for name, each in names.items() if name != "__builtins__")
        argument = example[example.index("[") : example.rindex("]") + 1]
        assert function(ast.literal_eval(argument)) == ast.literal_eval(value)  # type: ignore[operator]


def test_the_same_seed_gives_the_same_conversations(tmp_path: Path) -> None:
    first, _ = read(code_chats(12), tmp_path)

    assert [each.text for each in first] == [each.text for each in read(code_chats(12), tmp_path)[0]]
    assert [each.text for each in first] != [each.text for each in read(code_chats(12, seed=2), tmp_path)[0]]


def test_programs_that_fail_or_answer_wrongly_are_left_out_and_counted(tmp_path: Path, monkeypatch) -> None:
    length = next(result for result in RESULTS["numbers"] if result.name == "number")
    wrong = replace(length, code="len(values) + 1")
    hostile = replace(length, code="open('/etc/passwd').read()")
    endless = replace(length, code="[None for _ in iter(int, 1)]")
    tasks = iter([*(Task("f", "numbers", (), each, ([], [1, 2])) for each in (length, wrong, hostile, endless))])
    monkeypatch.setattr(chats, "draw_task", lambda draw: next(tasks))
    monkeypatch.setattr(chats, "CALL_CPU_S", 0.2)

    documents, counts = read(code_chats(4), tmp_path)

    assert [document.text.split("\n\n")[-1] for document in documents] == ["2"]
    assert (counts["skipped_wrong_answer"], counts["skipped_program_failed"]) == (1, 2)


def test_every_step_and_result_is_drawn_and_each_computes_its_reference() -> None:
    drawn = [draw_task(random.Random(number)) for number in range(1500)]
    steps = {step.words for task in drawn for step, _ in task.steps}

    assert steps == {step.words for kind in STEPS.values() for step in kind}
    assert {(task.kind, task.result.name) for task in drawn} == {
        (kind, result.name) for kind, results in RESULTS.items() for result in results
    }
    for task in drawn:
        names: dict = {}
        exec(task.program, names)
        for call in task.calls[1:]:
            try:
                returned = names[task.name](list(call))
            except (ValueError, ZeroDivisionError):
                with pytest.raises((ValueError, IndexError, ZeroDivisionError)):
                    task.expected(call)
            else:
                assert returned == task.expected(call)
