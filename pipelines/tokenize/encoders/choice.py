"""Which encoder makes the ids: the fastest one that gives the library's own on every text compared.

Compared are hostile texts once in each process, and a sample of each shard's documents.
"""

import zlib
from collections.abc import Callable, Collection
from functools import lru_cache

import pyarrow as pa

from arctic_errors import ArcticError
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.tokenize.encoders.encoder import Encoder, Ids, LibraryEncoder, UnsupportedError
from pipelines.tokenize.encoders.gigatoken import GigatokenEncoder
from pipelines.tokenize.encoders.tiktoken import TiktokenEncoder
from pipelines.tokenize.probing import hostile_texts

FASTEST_FIRST: tuple[Callable[[TextTokenizer], Encoder], ...] = (GigatokenEncoder, TiktokenEncoder)
"""Measured by benchmarks/packing.py. The library comes after them."""
SAMPLE_EVERY = 1000
"""One document in this many is compared, by its id."""
SAMPLE_CHARACTERS = 8192
"""A longer document is compared to here."""
SHOWN_CHARACTERS = 60


class DifferenceError(ArcticError):
    """An encoder whose ids of a text differ from the library's, or that fails: its name and its error."""

    def __init__(self, encoder: str, difference: str) -> None:
        super().__init__(encoder, difference)
        self.encoder, self.difference = encoder, difference


def choose(tokenizer: TextTokenizer, distrusted: Collection[str]) -> tuple[Encoder, dict[str, str]]:
    """The fastest encoder that is not `distrusted`, and why faster ones are not trusted, by their names."""
    differences: dict[str, str] = {}
    for make in FASTEST_FIRST:
        encoder = _proven(make, tokenizer)
        if isinstance(encoder, DifferenceError):
            differences[encoder.encoder] = encoder.difference
        elif encoder is not None and encoder.name not in distrusted:
            return encoder, differences
    return LibraryEncoder(tokenizer), differences


def encode_checked(encoder: Encoder, tokenizer: TextTokenizer, batch: pa.RecordBatch, *, first: bool) -> Ids:
    """Ids of the documents of `batch`; a sample of them is compared, with the first one if `first`.

    Raises DifferenceError.
    """
    texts = batch["text"]
    if isinstance(encoder, LibraryEncoder):
        return encoder.encode(texts)
    draws = (zlib.crc32(doc_id.encode()) % SAMPLE_EVERY for doc_id in batch["doc_id"].to_pylist())
    rows = [row for row, draw in enumerate(draws) if not draw or (first and not row)]
    _compare(encoder, tokenizer, [texts[row].as_py()[:SAMPLE_CHARACTERS] for row in rows])
    return _encode(encoder, texts)


@lru_cache(maxsize=4)
def _proven(make: Callable[[TextTokenizer], Encoder], tokenizer: TextTokenizer) -> Encoder | DifferenceError | None:
    """The encoder if it passes the hostile texts, or how it failed; None if it does not support the tokenizer."""
    try:
        encoder = make(tokenizer)
        _compare(encoder, tokenizer, list(hostile_texts(tokenizer.backend)))
    except UnsupportedError:
        return None
    except DifferenceError as error:
        return error
    return encoder


def _compare(encoder: Encoder, tokenizer: TextTokenizer, texts: list[str]) -> None:
    array = pa.array(texts, pa.large_string())
    ids, expected = _encode(encoder, array), LibraryEncoder(tokenizer).encode(array)
    for number, text in enumerate(texts):
        if ids.of(number).tolist() != expected.of(number).tolist():
            raise DifferenceError(encoder.name, f"gives other ids for {text[:SHOWN_CHARACTERS]!r}")


def _encode(encoder: Encoder, texts: pa.Array) -> Ids:
    try:
        return encoder.encode(texts)
    except Exception as error:  # each library raises its own exceptions
        raise DifferenceError(encoder.name, f"fails ({error!r:.200})") from error
