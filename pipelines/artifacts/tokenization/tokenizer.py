"""The output of `tokenizer`, and the way from text to ids and back.

    tokenizer.json          the tokenizer, as the library of that name writes it
    tokenizer_config.json   for Hugging Face tools: the special tokens and the chat template
    sample.parquet          SAMPLE: the documents that it was trained on; absent if an existing one was loaded

Special tokens are never read out of text: a document that contains the letters `<|end|>` is encoded as those letters,
so no text can end itself.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from infra.store.integrity import DamageError, read_committed
from pipelines.artifacts.tokenization.token_bytes import adds_blank, keep_special_names_apart, token_bytes
from pipelines.artifacts.tokenization.tokens import id_dtype
from pipelines.errors import require_encodable

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SAMPLE_FILE = "sample.parquet"
SAMPLE = pa.schema(
    [
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),
    ]
)
PAD, CHAT_START, CHAT_END = "<|pad|>", "<|im_start|>", "<|im_end|>"
"""Padding, and the chat marks of Arctic-instruct (ChatML)."""
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SAMPLING = ("dropout", "alpha", "nbest_size")
"""Fields of a tokenizer's model that make its encoding random: BPE-dropout (arXiv 1910.13267) and subword
regularisation (arXiv 1804.10959)."""
BATCH_TEXTS, BATCH_CHARACTERS = 64, 2**20
"""Texts of one call of the library end at either: enough for its batch speed, and its records of some 100 bytes a
token stay small."""


class TextTokenizer:
    """Tokenizer of one run; `library`: the same as an object of `tokenizers`.

    Raises ValueError if its files cannot be read.
    """

    def __init__(self, artifact: Path) -> None:
        file = artifact / CONFIG_FILE
        self.backend = read_tokenizer(artifact / TOKENIZER_FILE)
        try:
            config = json.loads(read_committed(file))
            ids = self.backend.get_vocab()
            self.end_id, self.pad_id = ids[config["eos_token"]], ids[config["pad_token"]]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{file}: does not fit {TOKENIZER_FILE} ({error!r}). Build `tokenizer` again.") from error

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return vocab_size(self.backend)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without end ids. Raises OptionError if it has lone surrogates."""
        try:
            return self.backend.encode(text, add_special_tokens=False).ids
        except TypeError:
            require_encodable(text, "the text")
            raise

    def encode_documents(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """Ids of each text between two end ids, in order, as uint16 or uint32."""
        dtype = id_dtype(self.vocab_size)
        for batch in text_batches(texts):
            for encoding in self.backend.encode_batch_fast(batch, add_special_tokens=False):
                yield np.array([self.end_id, *encoding.ids, self.end_id], dtype=dtype)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without special tokens; bytes that are no UTF-8 become U+FFFD."""
        return self.backend.decode(ids, skip_special_tokens=True)

    def decodes_to(self, ids: Sequence[int], text: str) -> bool:
        """Whether the bytes of `ids`, which have no special token, are those of `text`."""
        content = b"".join(map(self.token_bytes.__getitem__, ids))
        return (content.removeprefix(b" ") if self._adds_blank else content) == text.encode()

    def num_predicted_bytes(self, ids: np.ndarray) -> int:
        """Bytes of text of all `ids` but the first, a run of ids of one document."""
        total = int(self.bytes_of_id[ids[1:]].sum())
        begins = self._adds_blank and len(ids) > 1 and ids[0] == self.end_id
        return total - (begins and self.token_bytes[ids[1]].startswith(b" "))

    @cached_property
    def _adds_blank(self) -> bool:
        return adds_blank(self.backend)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of text of each id, empty for special tokens."""
        return token_bytes(self.backend)

    @cached_property
    def token_table(self) -> pa.LargeBinaryArray:
        """`token_bytes` as an Arrow array."""
        return pa.array(self.token_bytes, pa.large_binary())

    @cached_property
    def bytes_of_id(self) -> np.ndarray:
        """int64 [V]: number of bytes of text of each id; 0 for special tokens."""
        return np.array([len(token) for token in self.token_bytes], dtype=np.int64)


def read_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in `file`, set to encode whole texts, to give a text the same ids every time, and to take special
    tokens in text as text.

    Raises ValueError if it cannot be read.
    """
    try:
        tokenizer = Tokenizer.from_buffer(read_committed(file))
    except DamageError:
        raise
    except Exception as error:  # the library raises plain Exception for every fault
        raise ValueError(f"{file}: not a readable tokenizer ({error}).") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    switch_off_sampling(tokenizer)
    keep_special_names_apart(tokenizer)
    return tokenizer


def switch_off_sampling(tokenizer: Tokenizer) -> None:
    """Let `tokenizer` choose the likeliest encoding of a text instead of drawing one."""
    for name in SAMPLING:
        if getattr(tokenizer.model, name, None):
            setattr(tokenizer.model, name, None)


def vocab_size(tokenizer: Tokenizer) -> int:
    """One more than the largest id: the rows that a model's embedding needs."""
    return max(tokenizer.get_vocab().values()) + 1


def write_config(tokenizer: Tokenizer, end_token: str, folder: Path) -> None:
    """Write tokenizer_config.json for `tokenizer`. The end token also pads if there is no padding token; there is a
    chat template if the tokenizer has the chat marks."""
    special_tokens = {token for token in (PAD, CHAT_START, CHAT_END) if tokenizer.token_to_id(token) is not None}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end_token,
        "eos_token": end_token,
        "pad_token": PAD if PAD in special_tokens else end_token,
        "clean_up_tokenization_spaces": False,
        # In training an end token precedes each document.
        "add_bos_token": True,
    }
    if {CHAT_START, CHAT_END} <= special_tokens:
        config |= {"additional_special_tokens": [CHAT_START, CHAT_END], "chat_template": CHAT_TEMPLATE}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")


def text_batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """`texts` in order, as many at a time as one call of the library takes."""
    first = characters = 0
    for number, text in enumerate(texts):
        if number - first == BATCH_TEXTS or characters > BATCH_CHARACTERS:
            yield texts[first:number]
            first, characters = number, 0
        characters += len(text)
    if first < len(texts):
        yield texts[first:]
