"""Ids from tiktoken: byte-level BPE after one regular expression."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.tokenize.encoders.encoder import Ids, UnsupportedError, joined

GPT2_WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The pattern by which `ByteLevel` of the library splits (Radford et al. 2019)."""
PLAIN_MODEL = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback")
"""Fields of a BPE model that byte-level BPE leaves empty."""


class TiktokenEncoder:
    """Raises UnsupportedError unless the tokenizer is byte-level BPE that splits text by one expression."""

    name = "tiktoken"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        from tiktoken import Encoding

        parts = json.loads(tokenizer.backend.to_str())
        pattern = _pattern(parts)
        ranks = _ranks(parts["model"], tokenizer.token_bytes)
        id_of = {token: index for index, token in enumerate(tokenizer.token_bytes) if token in ranks}
        if len(id_of) < len(ranks):
            raise UnsupportedError("tiktoken: not every byte and merge has an id.")
        # tiktoken numbers tokens in the order of their merges.
        self._id_of_rank = np.array([id_of[token] for token in ranks], np.uint32)
        self.backend = Encoding("text", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

    def encode(self, texts: pa.Array) -> Ids:
        ranks = [self.backend.encode_to_numpy(text, disallowed_special=()) for text in texts.to_pylist()]
        return joined([self._id_of_rank[each] for each in ranks])


def _ranks(model: dict[str, Any], token_bytes: list[bytes]) -> dict[bytes, int]:
    """Rank of each token: bytes first, then the result of each merge."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    for merge in model["merges"]:
        left, right = (token_bytes[model["vocab"][name]] for name in merge)
        ranks.setdefault(left + right, len(ranks))
    return ranks


def _pattern(parts: dict[str, Any]) -> str:
    """The expression that a text is split by. Raises UnsupportedError."""
    model = parts["model"]
    is_plain = model["type"] == "BPE" and not any(model.get(field) for field in PLAIN_MODEL)
    if not is_plain or parts["normalizer"] or not all(token["special"] for token in parts["added_tokens"]):
        raise UnsupportedError("tiktoken: not a plain byte-level BPE.")
    match parts["pre_tokenizer"]:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return GPT2_WORDS
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return str(pattern)
    raise UnsupportedError("tiktoken: text is not split by one expression.")
