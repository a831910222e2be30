"""The part of a document that is compared: all of its text, or what a conversation begins with."""

from typing import Literal, TypeAlias

import pyarrow as pa

from pipelines.artifacts.conversations import read_conversation

Part: TypeAlias = Literal["text", "first_prompt"]
COLUMNS: dict[Part, list[str]] = {"text": ["text"], "first_prompt": ["text", "attributes"]}
"""Columns of DOCUMENTS that each part is read from."""


def compared_texts(documents: pa.RecordBatch, part: Part) -> pa.LargeStringArray:
    """The part of each document, "" for the first prompt of a document that is no conversation."""
    if part == "text":
        return documents["text"]
    rows = zip(documents["text"].to_pylist(), documents["attributes"].to_pylist(), strict=True)
    return pa.array([_first_prompt(text, attributes) for text, attributes in rows], pa.large_string())


def _first_prompt(text: str, attributes: str | None) -> str:
    chat = read_conversation(text, attributes)
    return chat.prompt if chat else ""
