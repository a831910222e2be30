"""Conversations in the usual shapes become documents with turns; rows that are none are set aside and counted."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from data_recipes.schema import SourceSection
from pipelines import source
from pipelines.artifacts.conversations import Conversation, Turn, read_conversation
from pipelines.source.chat.shapes import ChatError, conversation
from pipelines.source.stage import SourceError

SUM = Conversation((Turn("user", "2 + 2?"), Turn("assistant", "4")))
SUM_MESSAGES = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
TERSE = Conversation((Turn("system", "Be terse."), *SUM.turns))
SHAPES: Mapping[str, tuple[Mapping[str, Any], Conversation]] = {
    "messages": ({"messages": SUM_MESSAGES}, SUM),
    "messages with a system turn": (
        {"messages": [{"role": "developer", "content": "Be terse."}, *SUM_MESSAGES]},
        TERSE,
    ),
    "messages in parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]}, SUM_MESSAGES[1]]},
        SUM,
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        SUM,
    ),
    "sharegpt with a system field": (
        {"system": "Be terse.", "conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        TERSE,
    ),
    "alpaca": ({"instruction": "2 + 2?", "input": "", "output": "4"}, SUM),
    "alpaca with an input": (
        {"instruction": "Add.", "input": "2, 2", "output": "4"},
        Conversation((Turn("user", "Add.\n\n2, 2"), Turn("assistant", "4"))),
    ),
    "completion": ({"prompt": "2 + 2?", "completion": "4"}, SUM),
    "completion in messages": ({"prompt": SUM_MESSAGES[:1], "completion": SUM_MESSAGES[1:]}, SUM),
    "preference": ({"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}, Conversation(SUM.turns, "5")),
    "preference in whole conversations": (
        {"chosen": SUM_MESSAGES, "rejected": [SUM_MESSAGES[0], {"role": "assistant", "content": "5"}]},
        Conversation(SUM.turns, "5"),
    ),
    "preference in whole conversations and a prompt": (
        {
            "prompt": "2 + 2?",
            "chosen": SUM_MESSAGES,
            "rejected": [*SUM_MESSAGES[:1], {"role": "assistant", "content": "5"}],
        },
        Conversation(SUM.turns, "5"),
    ),
    "a tool's call and result as text": (
        {
            "messages": [
                SUM_MESSAGES[0],
                {"role": "assistant", "content": None, "tool_calls": [{"name": "add", "arguments": [2, 2]}]},
                {"role": "tool", "content": {"sum": 4}},
                SUM_MESSAGES[1],
            ]
        },
        Conversation(
            (
                SUM.turns[0],
                Turn("assistant", '[{"name": "add", "arguments": [2, 2]}]'),
                Turn("tool", '{"sum": 4}'),
                SUM.turns[1],
            )
        ),
    ),
}
BAD: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "an empty assistant turn": (
        {"messages": [SUM_MESSAGES[0], {"role": "assistant", "content": " "}]},
        "messages.2 (assistant) is empty",
    ),
    "an empty output": ({"instruction": "Add.", "output": ""}, "output is empty"),
    "roles out of order": (
        {"messages": [SUM_MESSAGES[0], SUM_MESSAGES[0]]},
        "roles out of order: turn 2 is the user's, after the user's",
    ),
    "an answer first": ({"messages": SUM_MESSAGES[1:]}, "the first turn is the assistant's"),
    "an unknown role": ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.1: unknown role 'narrator'"),
    "no answer": ({"messages": SUM_MESSAGES[:1]}, "no turn of the assistant"),
    "no messages": ({"messages": []}, "messages is empty"),
    "equal sides": ({"prompt": "2 + 2?", "chosen": "4", "rejected": "4"}, "chosen and rejected are equal"),
    "sides of other conversations": (
        {
            "chosen": SUM_MESSAGES,
            "rejected": [{"role": "user", "content": "3?"}, {"role": "assistant", "content": "5"}],
        },
        "chosen and rejected differ in more than their last turn",
    ),
    "another table": ({"text": "prose"}, "no shape of a conversation has the fields (none)"),
    "half a character": ({"prompt": "\ud83d?", "completion": "4"}, "prompt: undecodable text"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_detected(name: str) -> None:
    row, expected = SHAPES[name]

    assert conversation(row) == expected


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_is_no_conversation_is_refused_with_its_reason(name: str) -> None:
    row, reason = BAD[name]

    with pytest.raises(ChatError) as refused:
        conversation({field: value for field, value in row.items() if field != "text"})

    assert reason in str(refused.value)


def test_a_named_shape_does_not_look_at_other_fields() -> None:
    row = {"messages": SUM_MESSAGES, "prompt": "3 + 3?", "completion": "6"}

    assert conversation(row, "completion").prompt == "3 + 3?"
    with pytest.raises(ChatError, match="no field 'conversations', which the shape sharegpt has"):
        conversation(row, "sharegpt")


def test_redactions_reach_the_turns_that_they_lie_in() -> None:
    chat = Conversation((Turn("user", "Mail ann@x.org"), Turn("assistant", "Sent to ann@x.org.")), "No.")
    spans = [
        {"start": result, "end": result + len("ann@x.org"), "kind": "email"}
        for result in (chat.text.index("ann"), chat.text.rindex("ann"))
    ]

    assert read_conversation(chat.text, chat.attributes, spans) == Conversation(
        (Turn("user", "Mail <EMAIL>"), Turn("assistant", "Sent to <EMAIL>.")), "No."
    )


def test_a_document_of_prose_is_no_conversation() -> None:
    assert read_conversation("The river rose.", None) is None
    assert read_conversation("The river rose.", '{"id": "7"}') is None


def test_files_of_all_shapes_become_documents_and_bad_rows_are_counted(
    build: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [row for row, _ in SHAPES.values()]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows, BAD["equal sides"][0]]))
    pq.write_table(pa.Table.from_pylist([{"messages": SUM_MESSAGES, "source": "own"}]), tmp_path / "b.parquet")

    made = build(section("a.jsonl", "b.parquet", limit=0.5, licence="CC0-1.0"))

    read = documents(made)
    assert [read_conversation(row["text"], row["attributes"]) for row in read] == [
        *(expected for _, expected in SHAPES.values()),
        SUM,
    ]
    assert {row["licence"] for row in read} == {"CC0-1.0"}
    assert read[-1]["url"] == "b.parquet#1"
    assert made.artifact.manifest.metrics["data/quarantined"] == 1


def test_too_many_bad_rows_end_the_stage(build: Callable[..., Any], tmp_path: Path) -> None:
    good, bad = SHAPES["messages"][0], BAD["roles out of order"][0]
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")

    with pytest.raises(SourceError, match="a.jsonl#2: roles out of order"):
        build(section("a.jsonl"))


def test_answers_to_one_prompt_stand_on_one_side(build: Callable[..., Any], tmp_path: Path) -> None:
    rows = [{"prompt": f"{number % 40} + 1?", "completion": str(number)} for number in range(120)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))

    made = build(section("a.jsonl", heldout=0.5))

    sides: dict[str, set[str]] = {}
    for row in documents(made):
        chat = read_conversation(row["text"], row["attributes"])
        assert chat
        sides.setdefault(chat.prompt, set()).add(row["split"])
    assert len(sides) == 40
    assert all(len(splits) == 1 for splits in sides.values())
    assert set.union(*sides.values()) == {"train", "heldout"}


@pytest.fixture
def build(attempt: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def build(chosen: SourceSection) -> Any:
        return attempt(source.stage("chat", chosen, source.fingerprint(chosen, tmp_path), tmp_path), "store")

    return build


def section(*paths: str, limit: float = 0.05, heldout: float = 0.0, **fields: object) -> SourceSection:
    item = {"kind": "chat", "paths": list(paths), **fields}
    page = {"inputs": [item], "max_quarantined_fraction": limit, "heldout_fraction": heldout}
    return TypeAdapter(SourceSection).validate_python(page)


def documents(made: Any) -> list[dict[str, Any]]:
    return [row for path in sorted(made.artifact.path.rglob("documents/*")) for row in pq.read_table(path).to_pylist()]
