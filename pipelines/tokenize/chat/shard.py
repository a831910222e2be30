"""One shard of conversations into one shard of packed sequences per split: the work that is spread over the cluster.

A conversation has one side, and a pair of answers has two, the chosen one first. Ids and marks go to files as they are
made, and rows are gathered from these, so memory holds only lengths and positions.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa

from arctic_errors import UserError
from pipelines.artifacts.conversations import Conversation
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.tokenization.chat_template import TemplateError
from pipelines.artifacts.tokenization.tokens import write_token_shard, write_trained_marks
from pipelines.tokenize.chat.encode import ChatTokenizer, EncodedChat
from pipelines.tokenize.packing import Placement, fill_rows, pack
from pipelines.tokenize.training_documents import KeptShard

SPLITS = (TRAIN, HELDOUT)
LOST = ("too_long", "spells_marks", "without_pair", "equal_sides")
"""Why a conversation is left out: its counts have these names."""


class ConversationError(UserError, ValueError):
    """A document of a fine-tune is no conversation, or the template does not take one."""


@dataclass(frozen=True)
class ChatShard:
    """One shard of documents, the tokenizer's folder, T, the treatment of conversations that are longer, and whether
    pairs of answers are read."""

    number: int
    kept: KeptShard
    tokenizer: Path
    sequence_length: int
    long_conversations: Literal["drop", "truncate"]
    pairs: bool = False


@dataclass
class _Encoded:
    """The conversations of a split that are packed, in order, with the lengths of their sides; the counts of all."""

    doc_ids: list[str] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def encode_shard(shard: ChatShard, folder: Path) -> dict[str, Any]:
    """Write both splits of `shard` under `folder`; returns counts by split.

    Raises:
        ConversationError: A document is no conversation, or the template does not take it.
    """
    # Shards run in parallel; threads below them would only compete for the same cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = ChatTokenizer(shard.tokenizer)
    return {split: dict(_encode_split(shard, tokenizer, split, folder)) for split in SPLITS}


def _encode_split(shard: ChatShard, tokenizer: ChatTokenizer, split: str, folder: Path) -> Counter[str]:
    scratch, scratch_marks = folder / "ids", folder / "marks"
    with scratch.open("wb") as ids_file, scratch_marks.open("wb") as marks_file:
        encoded = _encode(shard, tokenizer, split, ids_file, marks_file)
    sides = np.array(encoded.lengths, dtype=np.int64).reshape(-1, 2 if shard.pairs else 1)
    lengths, row_length = sides.sum(axis=1), shard.sequence_length + 1
    placement = pack(lengths, row_length)
    rows = fill_rows(_mapped(scratch, tokenizer.dtype), lengths, placement, row_length, tokenizer.text.pad_id)
    marks = fill_rows(_mapped(scratch_marks, "uint8"), lengths, placement, row_length, 0)
    pieces = shard.kept.piece_table(_by_side(placement, sides), pa.array(encoded.doc_ids, pa.string()))
    write_token_shard(rows, pieces, folder, split, shard.number)
    write_trained_marks(marks, folder, split, shard.number)
    scratch.unlink()
    scratch_marks.unlink()
    encoded.counts["sequences"] = placement.num_rows
    return encoded.counts


def _by_side(placement: Placement, sides: np.ndarray) -> Placement:
    """A piece for each side, of lengths [documents, sides], instead of one for each document."""
    lengths = sides[placement.document]
    before = np.cumsum(lengths, axis=1) - lengths
    each = lengths.shape[1]
    return Placement(
        np.repeat(placement.row, each),
        (placement.start[:, None] + before).ravel(),
        lengths.ravel(),
        np.repeat(placement.document, each),
        before.ravel(),
    )


def _encode(
    shard: ChatShard, tokenizer: ChatTokenizer, split: str, ids_file: BinaryIO, marks_file: BinaryIO
) -> _Encoded:
    """Write ids and marks of the split's conversations end to end."""
    encoded = _Encoded()
    counts = encoded.counts
    for doc_id, conversation in shard.kept.conversations(split):
        if conversation is None:
            raise ConversationError(
                f"document {doc_id} is no conversation. Read the corpus by inputs of the kind chat."
            )
        try:
            sides = _sides(conversation, shard, tokenizer, counts)
        except TemplateError as error:
            raise ConversationError(f"document {doc_id}: {error}") from None
        if not sides:
            continue
        for side in sides:
            ids_file.write(side.ids.data)
            marks_file.write(side.trained.astype(np.uint8).data)
            counts["trained_tokens"] += int(side.trained.sum())
        encoded.doc_ids.append(doc_id)
        encoded.lengths.append([len(side.ids) for side in sides])
        counts["documents"] += 1
        counts["tokens"] += sum(encoded.lengths[-1])
        counts["text_bytes"] += len(conversation.text.encode())
    return encoded


def _sides(
    conversation: Conversation, shard: ChatShard, tokenizer: ChatTokenizer, counts: Counter[str]
) -> Sequence[EncodedChat]:
    """The sides to pack; none, and a count more, if the conversation is left out."""
    if tokenizer.spells_marks(conversation):
        counts["spells_marks"] += 1
        return ()
    if not shard.pairs:
        return _fitted([tokenizer.encode(conversation)], shard, counts)
    if conversation.rejected is None:
        counts["without_pair"] += 1
        return ()
    sides = _fitted(tokenizer.encode_pair(conversation), shard, counts)
    # A redaction or a cut may have made them equal.
    if sides and np.array_equal(sides[0].ids, sides[1].ids):
        counts["equal_sides"] += 1
        return ()
    return sides


def _fitted(sides: Sequence[EncodedChat], shard: ChatShard, counts: Counter[str]) -> Sequence[EncodedChat]:
    """The sides as far as a sequence holds them together; none if they are left out."""
    row_length = shard.sequence_length + 1
    if sum(len(side.ids) for side in sides) <= row_length:
        return sides
    cut = [side.cut(row_length // len(sides)) for side in sides]
    if shard.long_conversations == "drop" or not all(side.trained.any() for side in cut):
        counts["too_long"] += 1
        return ()
    counts["truncated"] += 1
    return cut


def _mapped(file: Path, dtype: str) -> np.ndarray:
    """A plain view: its slices are made much faster than those of a memmap, and no file of length 0 can be mapped."""
    return np.asarray(np.memmap(file, dtype, "r")) if file.stat().st_size else np.empty(0, dtype)
