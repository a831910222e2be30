"""Tokenizing and packing as library functions: texts in, training sequences out, without stages or a cluster."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arctic_errors import UserError
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.errors import require_encodable
from pipelines.tokenize.packing import Placement, fill_rows, pack
from pipelines.tokenize.vocabulary import SPECIAL_TOKENS, write_tokenizer
from pipelines.tokenize.vocabulary import train_tokenizer as train

SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)


class TokenizeError(UserError, ValueError):
    """A vocabulary or sequence length that cannot work."""


@dataclass(frozen=True)
class PackedTexts:
    """Packed sequences.

    Attributes:
        rows: Ids [R, T + 1], uint16 or uint32: columns 0 to T - 1 are inputs, 1 to T are targets.
        placement: The document and position of each piece of a row; documents are numbered as the texts are.
        pad_id: Id of the padding at the end of a row.
    """

    rows: np.ndarray
    placement: Placement
    pad_id: int


def train_tokenizer(texts: Iterable[str], vocab_size: int, folder: str | Path) -> TextTokenizer:
    """Train a byte-level BPE tokenizer and write it to `folder`, in the form that Hugging Face tools read.

    >>> import tempfile
    >>> tokenizer = train_tokenizer(["SELECT name FROM pets;"] * 9, 280, tempfile.mkdtemp())
    >>> tokenizer.decode(tokenizer.encode("SELECT * FROM pets;"))
    'SELECT * FROM pets;'

    Args:
        texts: Training texts.
        vocab_size: Maximum number of ids; there are fewer if no more pairs occur twice.
        folder: Folder for tokenizer.json and tokenizer_config.json; created if it does not exist.

    Raises:
        TokenizeError: If `vocab_size` has no room for all bytes and the special tokens.
        OptionError: If a text has lone surrogates.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise TokenizeError(
            f"vocab_size = {vocab_size}: must be at least {SMALLEST_VOCABULARY}, 256 bytes and {len(SPECIAL_TOKENS)} "
            "special tokens. Raise it."
        )
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = train(_encodable(texts), vocab_size)
    write_tokenizer(tokenizer, path)
    return TextTokenizer(path)


def pack_texts(texts: Sequence[str], tokenizer: TextTokenizer, sequence_length: int) -> PackedTexts:
    """Encode texts and pack them into sequences: best fit, longest first, each text between two end ids.

    >>> import tempfile
    >>> tokenizer = train_tokenizer(["a b c"], 260, tempfile.mkdtemp())
    >>> pack_texts(["abc", "de"], tokenizer, sequence_length=8).rows.shape
    (1, 9)

    Args:
        texts: Documents.
        tokenizer: Tokenizer of the model.
        sequence_length: T: tokens predicted per sequence. Longer documents are split.

    Returns:
        The sequences, with the position of every document.

    Raises:
        TokenizeError: If `sequence_length` is less than 1.
        OptionError: If a text has lone surrogates.
    """
    if sequence_length < 1:
        raise TokenizeError(f"sequence_length = {sequence_length}: must be at least 1. Raise it.")
    ids = list(tokenizer.encode_documents(list(_encodable(texts))))
    lengths = np.array([len(each) for each in ids], np.int64)
    row_length = sequence_length + 1
    placement = pack(lengths, row_length)
    joined = np.concatenate(ids) if ids else np.empty(0, np.uint16)
    blocks = list(fill_rows(joined, lengths, placement, row_length, tokenizer.pad_id))
    rows = np.concatenate(blocks) if blocks else np.empty((0, row_length), joined.dtype)
    return PackedTexts(rows, placement, tokenizer.pad_id)


def _encodable(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, start=1):
        require_encodable(text, f"text {number}")
        yield text
