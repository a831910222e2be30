"""A row of a published data set as a conversation: five shapes, distinguished by their fields."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from arctic_errors import ArcticError
from pipelines.artifacts.conversations import ASSISTANT, SYSTEM, TOOL, USER, Conversation, Turn

NAMES = {
    SYSTEM: ("system", "developer"),
    USER: ("user", "human"),
    ASSISTANT: ("assistant", "gpt", "chatgpt", "bot", "model", "function_call"),
    TOOL: ("tool", "function", "observation"),
}
"""Roles by the names that OpenAI's messages, ShareGPT and their relatives have for them."""
ROLES = {name: role for role, names in NAMES.items() for name in names}
NEXT = {SYSTEM: (USER,), USER: (ASSISTANT,), ASSISTANT: (USER, TOOL), TOOL: (TOOL, ASSISTANT)}
"""Who may speak after whom."""

Row = Mapping[str, Any]


class ChatError(ArcticError, ValueError):
    """A row is no sound conversation: the reason."""


def conversation(row: Row, shape: str = "auto") -> Conversation:
    """The conversation in the fields of a row. Raises ChatError.

    >>> conversation({"instruction": "Add.", "input": "2, 2", "output": "4"}).messages
    [{'role': 'user', 'content': 'Add.\\n\\n2, 2'}, {'role': 'assistant', 'content': '4'}]

    Args:
        row: Fields by name.
        shape: A name of SHAPES, or "auto" for the one whose fields the row has.
    """
    present = {name: value for name, value in row.items() if value is not None}
    if shape == "auto":
        shape = _detected(present)
    elif missing := [name for name in SHAPES[shape][0] if name not in present]:
        raise ChatError(f"no field {missing[0]!r}, which the shape {shape} has")
    chat = SHAPES[shape][1](present)
    _require_order(chat.turns)
    if chat.rejected is not None and chat.rejected == chat.turns[-1].content:
        raise ChatError("chosen and rejected are equal")
    return chat


def _detected(row: Row) -> str:
    for name, (fields, _) in SHAPES.items():
        if all(field in row for field in fields):
            return name
    raise ChatError(f"no shape of a conversation has the fields {', '.join(sorted(row)) or '(none)'}")


def _messages(row: Row) -> Conversation:
    return Conversation(_with_system(row, _turns(row["messages"], "messages")))


def _sharegpt(row: Row) -> Conversation:
    return Conversation(_with_system(row, _turns(row["conversations"], "conversations")))


def _alpaca(row: Row) -> Conversation:
    instruction, context = _text(row["instruction"], "instruction"), row.get("input") or ""
    prompt = f"{instruction}\n\n{_text(context, 'input')}" if context else instruction
    turns = (Turn(USER, prompt), Turn(ASSISTANT, _text(row["output"], "output")))
    return Conversation(_with_system(row, turns))


def _completion(row: Row) -> Conversation:
    prompt = _side(row["prompt"], USER, "prompt")
    return Conversation(_with_system(row, (*prompt, *_side(row["completion"], ASSISTANT, "completion"))))


def _preference(row: Row) -> Conversation:
    """`chosen` and `rejected` with the prompt in a separate field, or as the turns that both begin with."""
    chosen, rejected = (_side(row[name], ASSISTANT, name) for name in ("chosen", "rejected"))
    prompt = _side(row["prompt"], USER, "prompt") if row.get("prompt") else ()
    common = 0
    while common < min(len(chosen), len(rejected)) - 1 and chosen[common] == rejected[common]:
        common += 1
    if len(chosen) != common + 1 or len(rejected) != common + 1:
        raise ChatError("chosen and rejected differ in more than their last turn")
    if chosen[-1].role != ASSISTANT or rejected[-1].role != ASSISTANT:
        raise ChatError("chosen and rejected must end with an answer of the assistant")
    if prompt and chosen[: len(prompt)] == prompt:
        prompt = ()
    return Conversation(_with_system(row, (*prompt, *chosen)), rejected[-1].content)


SHAPES: Mapping[str, tuple[Sequence[str], Callable[[Row], Conversation]]] = {
    "preference": (("chosen", "rejected"), _preference),
    "messages": (("messages",), _messages),
    "sharegpt": (("conversations",), _sharegpt),
    "alpaca": (("instruction", "output"), _alpaca),
    "completion": (("prompt", "completion"), _completion),
}
"""By name, the fields that a row of the shape has, and how it is read; the first that fits is detected."""
FIELDS = (
    *dict.fromkeys(field for fields, _ in SHAPES.values() for field in fields),
    *("input", "system"),
)
"""All fields that are read."""


def _side(value: Any, role: str, name: str) -> tuple[Turn, ...]:
    """A text of `role`, or a list of messages."""
    return (Turn(role, _text(value, name)),) if isinstance(value, str) else _turns(value, name)


def _turns(value: Any, name: str) -> tuple[Turn, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ChatError(f"{name} is no list of messages, but {type(value).__name__}")
    if not value:
        raise ChatError(f"{name} is empty")
    return tuple(_turn(message, f"{name}.{number}") for number, message in enumerate(value, start=1))


def _turn(message: Any, place: str) -> Turn:
    if not isinstance(message, Mapping):
        raise ChatError(f"{place} is no message, but {type(message).__name__}")
    speaker = message.get("role") or message.get("from")
    role = ROLES.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        raise ChatError(f"{place}: unknown role {speaker!r}")
    content = message.get("content") if message.get("content") is not None else message.get("value")
    if not content and message.get("tool_calls"):
        content = message["tool_calls"]
    return Turn(role, _text(content, f"{place} ({role})"))


def _text(content: Any, place: str) -> str:
    """Text as it is, parts of the type "text" joined, and all else, such as the call of a tool, as JSON."""
    if isinstance(content, Sequence) and not isinstance(content, str) and content and all(map(_is_text, content)):
        content = "".join(part["text"] for part in content)
    try:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError as error:
        # JSON can escape halves of a character, which no encoding has.
        raise ChatError(f"{place}: undecodable text: {error.reason} at character {error.start}") from None
    except (TypeError, ValueError) as error:
        raise ChatError(f"{place} is neither text nor JSON: {error}") from None
    if not content or not text.strip():
        raise ChatError(f"{place} is empty")
    return text


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _with_system(row: Row, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns after the row's own field `system`, if it has one."""
    if not row.get("system") or turns[0].role == SYSTEM:
        return turns
    return (Turn(SYSTEM, _text(row["system"], "system")), *turns)


def _require_order(turns: Sequence[Turn]) -> None:
    if turns[0].role not in (SYSTEM, USER):
        raise ChatError(f"the first turn is the {turns[0].role}'s")
    for number, (before, turn) in enumerate(pairwise(turns), start=2):
        if turn.role not in NEXT[before.role]:
            raise ChatError(f"roles out of order: turn {number} is the {turn.role}'s, after the {before.role}'s")
    if all(turn.role != ASSISTANT for turn in turns):
        raise ChatError("no turn of the assistant")
