"""The protocol of an encoder, and the one that defines the ids."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from arctic_errors import ArcticError
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer


class Ids(NamedTuple):
    """Ids of N texts end to end: those of text n are `values[offsets[n] : offsets[n + 1]]`; `offsets` int64 [N + 1]."""

    values: np.ndarray
    offsets: np.ndarray

    def of(self, text: int) -> np.ndarray:
        """Ids of one text."""
        return self.values[self.offsets[text] : self.offsets[text + 1]]


class Encoder(Protocol):
    """Encodes texts without end ids; special tokens in a text are text."""

    name: str

    def encode(self, texts: pa.Array) -> Ids:
        """Ids of `texts`, a large_string array."""
        ...


class UnsupportedError(ArcticError, ValueError):
    """A tokenizer that an encoder cannot carry out."""


class LibraryEncoder:
    """`tokenizers`, which reads every tokenizer.json: its ids are right by definition."""

    name = "tokenizers"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: pa.Array) -> Ids:
        return joined([ids[1:-1] for ids in self._tokenizer.encode_documents(texts.to_pylist())])


def joined(ids: Sequence[np.ndarray]) -> Ids:
    """Ids of each text as one array."""
    offsets = np.fromiter(accumulate(map(len, ids), initial=0), np.int64, len(ids) + 1)
    return Ids(np.concatenate(ids) if ids else np.empty(0, np.uint32), offsets)
