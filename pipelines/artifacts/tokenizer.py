"""The output of `tokenizer`: one tokenizer.json, and the way from text to ids and back.

Special tokens have fixed ids and are never read out of text: a document that contains the letters `<|end|>` is
encoded as those letters, so no text can end itself.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
END, PAD, CHAT_START, CHAT_END = "<|end|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END, PAD, CHAT_START, CHAT_END)
"""Ids 0, 1, 2, 3: document end, padding, and the chat marks of Arctic-instruct."""
ENCODE_BATCH = 64
"""Texts a call: enough for the library's batch speed, and its records of 100 bytes a token stay small."""


class TextTokenizer:
    """Byte-level tokenizer of one run; any text comes back exactly."""

    def __init__(self, artifact: Path) -> None:
        file = artifact / TOKENIZER_FILE
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises plain Exception for every fault
            raise ValueError(f"{file}: not a readable tokenizer ({error}). Build `tokenizer` again.") from error
        self._tokenizer.encode_special_tokens = True
        ids = [self._tokenizer.token_to_id(token) for token in SPECIAL_TOKENS]
        if ids != list(range(len(SPECIAL_TOKENS))):
            raise ValueError(f"{file}: {', '.join(SPECIAL_TOKENS)} have ids {ids}; they must be 0, 1, 2, 3.")
        self.end_id, self.pad_id = SPECIAL_TOKENS.index(END), SPECIAL_TOKENS.index(PAD)

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without end ids."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_documents(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """int64 ids of each text between two end ids, in order."""
        for first in range(0, len(texts), ENCODE_BATCH):
            batch = self._tokenizer.encode_batch_fast(texts[first : first + ENCODE_BATCH], add_special_tokens=False)
            for encoding in batch:
                yield np.array([self.end_id, *encoding.ids, self.end_id], dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without special tokens; bytes that are no UTF-8 become U+FFFD."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    @cached_property
    def bytes_of_id(self) -> np.ndarray:
        """int64 [V]: how many bytes of text each id stands for; 0 for special tokens."""
        # In a byte-level vocabulary every character of a token's name is one byte.
        ids = self._tokenizer.get_vocab()
        table = np.zeros(len(ids), dtype=np.int64)
        for name, index in ids.items():
            table[index] = 0 if name in SPECIAL_TOKENS else len(name)
        return table
