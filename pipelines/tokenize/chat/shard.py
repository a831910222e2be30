"""One shard of conversations into one shard of packed sequences per split: the work that is spread over the cluster.

Ids and marks go to files as they are made, and rows are gathered from these, so memory holds lengths and places only.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arctic_errors import UserError
from pipelines.artifacts.chat_template import TemplateError
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.formats.parquet import read_table
from pipelines.artifacts.tokens import write_token_shard, write_trained_marks
from pipelines.tokenize.chat.encode import ChatTokenizer, EncodedChat
from pipelines.tokenize.packing import fill_rows, pack
from pipelines.tokenize.training_documents import KeptShard

SPLITS = (TRAIN, HELDOUT)


class ConversationError(UserError, ValueError):
    """A document of a fine-tune is no conversation, or the template does not take one."""


@dataclass(frozen=True)
class ChatShard:
    """One shard of documents, the tokenizer's folder, T, and what becomes of conversations that are longer."""

    number: int
    kept: KeptShard
    tokenizer: Path
    sequence_length: int
    long_conversations: Literal["drop", "truncate"]


@dataclass
class _Encoded:
    """The conversations of a split that are packed, in order, and the counts of all."""

    doc_ids: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def encode_shard(shard: ChatShard, folder: Path) -> dict[str, Any]:
    """Write both splits of `shard` under `folder`; returns counts by split.

    Raises:
        ConversationError: A document is no conversation, or the template does not take it.
    """
    # Shards are what runs in parallel; threads below them would only compete for the same cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = ChatTokenizer(shard.tokenizer)
    return {split: dict(_encode_split(shard, tokenizer, split, folder)) for split in SPLITS}


def _encode_split(shard: ChatShard, tokenizer: ChatTokenizer, split: str, folder: Path) -> Counter[str]:
    scratch, scratch_marks = folder / "ids", folder / "marks"
    with scratch.open("wb") as ids_file, scratch_marks.open("wb") as marks_file:
        encoded = _encode(shard, tokenizer, split, ids_file, marks_file)
    lengths = np.array(encoded.lengths, dtype=np.int64)
    row_length = shard.sequence_length + 1
    placement = pack(lengths, row_length)
    rows = fill_rows(_mapped(scratch, tokenizer.dtype), lengths, placement, row_length, tokenizer.text.pad_id)
    marks = fill_rows(_mapped(scratch_marks, "uint8"), lengths, placement, row_length, 0)
    every_doc_id = read_table(shard.kept.documents, columns=["doc_id"])["doc_id"]
    doc_ids = pa.array(encoded.doc_ids, pa.string())
    pieces = {
        "sequence": placement.row,
        "start": placement.start,
        "length": placement.length,
        "doc_id": doc_ids.take(pa.array(placement.document)),
        "doc_start": placement.doc_start,
        "doc_row": pc.index_in(doc_ids, every_doc_id).take(pa.array(placement.document)),
    }
    write_token_shard(rows, pa.table(pieces), folder, split, shard.number)
    write_trained_marks(marks, folder, split, shard.number)
    scratch.unlink()
    scratch_marks.unlink()
    encoded.counts["sequences"] = placement.num_rows
    return encoded.counts


def _encode(
    shard: ChatShard, tokenizer: ChatTokenizer, split: str, ids_file: BinaryIO, marks_file: BinaryIO
) -> _Encoded:
    """Write ids and marks of the split's conversations end to end."""
    encoded = _Encoded()
    for doc_id, conversation in shard.kept.conversations(split):
        if conversation is None:
            raise ConversationError(
                f"document {doc_id} is no conversation. Read the corpus by inputs of the kind chat."
            )
        if tokenizer.spells_marks(conversation):
            encoded.counts["spells_marks"] += 1
            continue
        try:
            chat = tokenizer.encode(conversation)
        except TemplateError as error:
            raise ConversationError(f"document {doc_id}: {error}") from None
        if (fitted := _fitted(chat, shard, encoded.counts)) is None:
            continue
        ids_file.write(fitted.ids.data)
        marks_file.write(fitted.trained.astype(np.uint8).data)
        encoded.doc_ids.append(doc_id)
        encoded.lengths.append(len(fitted.ids))
        encoded.counts["documents"] += 1
        encoded.counts["tokens"] += len(fitted.ids)
        encoded.counts["trained_tokens"] += int(fitted.trained.sum())
        encoded.counts["text_bytes"] += len(conversation.text.encode())
    return encoded


def _fitted(chat: EncodedChat, shard: ChatShard, counts: Counter[str]) -> EncodedChat | None:
    """The conversation as far as a sequence holds it, None if it is left out."""
    row_length = shard.sequence_length + 1
    if len(chat.ids) <= row_length:
        return chat
    cut = EncodedChat(chat.ids[:row_length], chat.trained[:row_length])
    if shard.long_conversations == "drop" or not cut.trained.any():
        counts["too_long"] += 1
        return None
    counts["truncated"] += 1
    return cut


def _mapped(file: Path, dtype: str) -> np.ndarray:
    """A plain view: its slices are made much faster than those of a memmap, and no file of length 0 can be mapped."""
    return np.asarray(np.memmap(file, dtype, "r")) if file.stat().st_size else np.empty(0, dtype)
