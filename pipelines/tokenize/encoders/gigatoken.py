"""Ids from gigatoken, which remembers the ids of words: byte-level BPE, and SentencePiece's BPE with byte fallback."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.tokenize.encoders.encoder import Ids, UnsupportedError
from pipelines.tokenize.encoders.joining import contents

RENEW_BYTES = 256 * 2**20
"""Text after which the words remembered are forgotten. They take 1 byte of memory for each byte of web text, and 7 for
each byte of random letters."""


class GigatokenEncoder:
    """Raises UnsupportedError if gigatoken does not know this kind of tokenizer."""

    name = "gigatoken"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._definition = without_special_tokens(tokenizer.backend.to_str())
        self._load()

    def encode(self, texts: pa.Array) -> Ids:
        array, num_bytes = _as_awkward(texts)
        if self._encoded_bytes + num_bytes > RENEW_BYTES:
            self._load()
        self._encoded_bytes += num_bytes
        # Shards run in parallel.
        layout = self._backend.encode_batch(array, parallel=False).layout
        return Ids(np.asarray(layout.content.data), np.asarray(layout.offsets.data))

    def _load(self) -> None:
        from gigatoken import Tokenizer

        try:
            self._backend = Tokenizer.from_json(self._definition)
        except (RuntimeError, ValueError) as error:
            raise UnsupportedError(f"gigatoken: {error}") from error
        self._encoded_bytes = 0


def without_special_tokens(definition: str) -> str:
    """The text of a tokenizer.json whose special tokens are not looked for in text."""
    parts = json.loads(definition)
    parts["added_tokens"] = [token for token in parts["added_tokens"] if not token["special"]]
    return json.dumps(parts)


def _as_awkward(texts: pa.Array) -> tuple[Any, int]:
    """The same memory as an awkward array of strings, and its bytes."""
    import awkward

    arrays, index = awkward.contents, awkward.index
    offsets, data = contents(texts)
    characters = arrays.NumpyArray(data, parameters={"__array__": "char"})
    strings = arrays.ListOffsetArray(
        index.Index64(offsets - offsets[0]), characters, parameters={"__array__": "string"}
    )
    return awkward.Array(strings), len(data)
