"""Generated programming tasks as conversations. Every answer is executed in the sandbox before it is kept: a program
that raises, or returns another value than the reference, is left out and counted."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data_recipes.sections.inputs import CodeChatInput
from pipelines.artifacts.documents import Document
from pipelines.sandbox import CallReply, PythonSandbox
from pipelines.sandbox.protocol import RETURNED
from pipelines.source.code_chat.tasks import Task, draw_task
from pipelines.source.document_sink import DocumentSink
from pipelines.source.generated.documents import generated_document, number_ranges
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit

GENERATOR_VERSION = 1
"""Raise it with any change of the tasks or of their wordings."""
TASKS_PER_SHARD = 500
CALL_CPU_S = 1.0


class CodeChats(CodeChatInput):
    """Generated tasks; those that fail when they are executed become no conversation."""

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:  # noqa: ARG002 - lies in no folder
        """The generator's version."""
        return {"generator": GENERATOR_VERSION}

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        for numbers in number_ranges(self.num_tasks, TASKS_PER_SHARD):
            yield InputSplit(TaskChats(self.seed, *numbers))


@dataclass(frozen=True)
class TaskChats:
    """Conversations of tasks `first` to `last` - 1."""

    seed: int
    first: int
    last: int

    def read(self, sink: DocumentSink) -> None:
        with PythonSandbox() as sandbox:
            for number in range(self.first, self.last):
                draw = random.Random(f"code_chat/{self.seed}/{number}")
                task = draw_task(draw)
                replies = sandbox.call(task.program, task.name, [[call] for call in task.calls], CALL_CPU_S).calls
                if reason := failure(task, replies):
                    sink.skip(reason)
                else:
                    sink.write(self._document(task, replies[-1].value, draw, sink))

    def _document(self, task: Task, returned: Any, draw: random.Random, sink: DocumentSink) -> Document:
        chat = task.conversation(returned, draw)
        # Tasks of one program are in the same split.
        split = sink.draw_split(task.program)
        path = f"code_chat/{self.seed}"
        return generated_document(chat.text, path, origin="code_chat", split=split, attributes=chat.attributes)


def failure(task: Task, replies: tuple[CallReply, ...]) -> str:
    """Why a program that was called with `task.calls` is no answer: "program_failed", "wrong_answer", or ""."""
    if any(reply.outcome != RETURNED for reply in replies):
        return "program_failed"
    expected = [task.expected(call) for call in task.calls]
    return "" if expected == [reply.value for reply in replies] else "wrong_answer"
