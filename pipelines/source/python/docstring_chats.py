"""Questions on the standard library, answered from its docstrings, as conversations."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_recipes.sections.inputs import DocstringChatInput
from pipelines.artifacts.conversations import ASSISTANT, USER, Conversation, Turn
from pipelines.artifacts.documents import Document
from pipelines.source.document_sink import DocumentSink
from pipelines.source.generated.documents import generated_document
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit
from pipelines.source.python.isolated import run_isolated
from pipelines.source.python.python_sources import PYTHON_LICENCE
from pipelines.source.python.standard_library import fingerprint_library, module_names

READER = Path(__file__).resolve().with_name("read_docstrings.py")
NUM_SHARDS = 4
WORDINGS_VERSION = 1
"""Raise it with any change of a question or an answer."""

MEANING = (
    "What does `{name}` do?",
    "What is `{name}` for?",
    "Explain `{name}` in Python.",
    "I found `{name}` in some Python code. What is it?",
)
NAMING = (
    "Which part of the module `{module}` fits this description? {summary}",
    "I look for something in `{module}`: {summary} What is it called?",
)
CALLING = ("How is it called?", "Which arguments does it take?", "And its signature?")
NAMING_SHARE = 0.25
"""Of the conversations that ask for the name of the object that a docstring describes."""
SUMMARY_CHARACTERS = (20, 400)
"""Shortest and longest first paragraph that answers a question."""


class DocstringChats(DocstringChatInput):
    """Conversations about the public functions, classes and methods of the standard library."""

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:  # noqa: ARG002 - lies in no folder
        """Version and digest of the standard library, and the version of the wordings."""
        return {"library": fingerprint_library(), "wordings": WORDINGS_VERSION}

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        names = module_names()
        for number in range(NUM_SHARDS):
            yield InputSplit(ModuleChats(names[number::NUM_SHARDS], self.seed))


@dataclass(frozen=True)
class ModuleChats:
    """Conversations about the members of `modules`; those about one module stand on one side of the split."""

    modules: Sequence[str]
    seed: int

    def read(self, sink: DocumentSink) -> None:
        for result in run_isolated(READER, self.modules):
            if "error" in result:
                sink.skip("not_importable")
                continue
            for member in result["members"]:
                if SUMMARY_CHARACTERS[0] <= len(member["summary"]) <= SUMMARY_CHARACTERS[1]:
                    sink.write(self._document(result["module"], member, sink))
                else:
                    sink.skip("summary_length")

    def _document(self, module: str, member: Mapping[str, str], sink: DocumentSink) -> Document:
        chat = docstring_chat(module, member, random.Random(f"docstrings/{self.seed}/{member['name']}"))
        return generated_document(
            chat.text,
            f"docstring_chat/{self.seed}/{member['name']}",
            origin="docstring_chat",
            split=sink.draw_split(module.partition(".")[0]),
            licence=PYTHON_LICENCE,
            attributes=chat.attributes,
        )


def docstring_chat(module: str, member: Mapping[str, str], draw: random.Random) -> Conversation:
    """One question or two about a member of `module`: `name`, `signature` and `summary`, which hold the answers."""
    name, summary = member["name"], member["summary"]
    if draw.random() < NAMING_SHARE:
        question = draw.choice(NAMING).format(module=module, summary=summary)
        turns = [Turn(USER, question), Turn(ASSISTANT, f"`{name}`")]
    else:
        turns = [Turn(USER, draw.choice(MEANING).format(name=name)), Turn(ASSISTANT, summary)]
    if member["signature"]:
        turns += [Turn(USER, draw.choice(CALLING)), Turn(ASSISTANT, f"`{name}{member['signature']}`")]
    return Conversation(tuple(turns))
