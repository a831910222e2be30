"""Conversations as documents: the text contains all turns, and `attributes` contains the role of each.

    text         the turns one after the other, a blank line between two
    attributes   {"turns": [["user", 0, 25], ["assistant", 27, 60]]}: role, first character, end

So scores, limits, duplicates and redactions see the words alone, as in any document. The last turn of a preference pair
has the role REJECTED: an answer that is worse than the assistant's before it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.artifacts.documents import redact

SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
REJECTED = "rejected"
TURNS = "turns"
BETWEEN_TURNS = "\n\n"


class Turn(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """Turns in order; of a preference pair, the last one is the better answer and `rejected` the worse.

    >>> chat = Conversation((Turn("user", "2 + 2?"), Turn("assistant", "4")))
    >>> chat.text, chat.attributes
    ('2 + 2?\\n\\n4', '{"turns": [["user", 0, 6], ["assistant", 8, 9]]}')
    >>> read_conversation(chat.text, chat.attributes) == chat
    True
    """

    turns: tuple[Turn, ...]
    rejected: str | None = None

    @property
    def prompt(self) -> str:
        """The first words of the user."""
        return next((turn.content for turn in self.turns if turn.role == USER), "")

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns as a chat template takes them."""
        return [turn._asdict() for turn in self.turns]

    @property
    def answers(self) -> tuple[str, ...]:
        """The last turn, and of a pair the rejected one after it."""
        return (self.turns[-1].content, *([] if self.rejected is None else [self.rejected]))

    @property
    def text(self) -> str:
        """The text of the document."""
        return BETWEEN_TURNS.join(turn.content for turn in self._parts)

    @property
    def attributes(self) -> str:
        """The attributes of the document."""
        rows, start = [], 0
        for role, content in self._parts:
            rows.append([role, start, start + len(content)])
            start += len(content) + len(BETWEEN_TURNS)
        return json.dumps({TURNS: rows})

    @property
    def _parts(self) -> Sequence[Turn]:
        return self.turns if self.rejected is None else (*self.turns, Turn(REJECTED, self.rejected))


def read_conversation(
    text: str, attributes: str | None, redactions: Iterable[Mapping[str, Any]] = ()
) -> Conversation | None:
    """The conversation of a document, its `redactions` (spans of REDACTION) applied; None if the document is none."""
    rows = json.loads(attributes or "{}").get(TURNS)
    if rows is None:
        return None
    spans = list(redactions)
    turns = [Turn(role, _part(text, start, end, spans)) for role, start, end in rows]
    if turns[-1].role == REJECTED:
        return Conversation(tuple(turns[:-1]), turns[-1].content)
    return Conversation(tuple(turns))


def _part(text: str, start: int, end: int, spans: Sequence[Mapping[str, Any]]) -> str:
    """Characters `start` to `end`, with the redactions in them. A span over several turns counts in each."""
    mine = [
        {"start": max(span["start"], start) - start, "end": min(span["end"], end) - start, "kind": span["kind"]}
        for span in spans
        if span["start"] < end and span["end"] > start
    ]
    return redact(text[start:end], mine)
