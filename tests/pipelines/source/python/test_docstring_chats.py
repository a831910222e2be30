"""Questions on the standard library: the answers are its docstrings, and show nothing of this machine."""

import importlib
import inspect
import random
import sys

from pipelines.artifacts.conversations import read_conversation
from pipelines.source.document_sink import DocumentSink
from pipelines.source.python.docstring_chats import READER, ModuleChats, docstring_chat
from pipelines.source.python.isolated import run_isolated
from tests.kit.documents import Collected

MODULES = ["textwrap", "bisect", "cgi_or_not", "calendar", "urllib.request"]


def members(*modules: str) -> dict[str, dict[str, str]]:
    return {each["name"]: each for result in run_isolated(READER, modules) for each in result.get("members", [])}


def test_answers_are_first_paragraphs_of_docstrings_and_signatures() -> None:
    for name, member in members("textwrap", "bisect", "calendar").items():
        value = importlib.import_module(name.split(".")[0])
        for part in name.split(".")[1:]:
            value = getattr(value, part)
        first = inspect.getdoc(value).split("\n\n")[0]
        assert member["summary"] == " ".join(first.split())
        # A method that is found in a class or in an instance has other first arguments.
        assert member["signature"].strip("()").split(",")[0] in f"{inspect.signature(value)}self,cls"


def test_nothing_of_the_machine_stands_in_them() -> None:
    result = members("urllib.request", "subprocess", "tempfile", "logging", "xmlrpc.server")

    text = repr(result)
    assert len(result) > 100
    assert "0x" not in text
    assert sys.prefix not in text
    assert "environ({" not in text


def test_conversations_ask_for_the_meaning_or_for_the_name(tmp_path) -> None:
    target = Collected()
    sink = DocumentSink(tmp_path, "all_text", 0.2, target)
    ModuleChats(MODULES, 1).read(sink)

    assert sink.counts["skipped_not_importable"] == 1
    chats = [read_conversation(each.text, each.attributes) for each in target.documents]
    prompts = [chat.prompt for chat in chats if chat]
    assert sum("What does `" in prompt for prompt in prompts) > 5
    assert sum("What is it called?" in prompt or "fits this description" in prompt for prompt in prompts) > 5
    assert {each.licence for each in target.documents} == {"Python-2.0"}
    # A module's members are in the same split.
    splits = {(each.url.split("/")[2].split(".")[0], each.split) for each in target.documents}
    assert len(splits) == len({module for module, _ in splits})


def test_the_same_seed_gives_the_same_words() -> None:
    member = {"name": "a.b", "signature": "(c)", "summary": "Do something with c."}

    first = docstring_chat("a", member, random.Random(1))

    assert first == docstring_chat("a", member, random.Random(1))
    assert {docstring_chat("a", member, random.Random(seed)).prompt for seed in range(60)} >= {first.prompt}
    assert len({docstring_chat("a", member, random.Random(seed)).prompt for seed in range(60)}) == 6
