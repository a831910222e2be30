"""One conversation into ids in the chat template, with a mark on each id that is trained."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infra.store.integrity import read_committed
from pipelines.artifacts.conversations import Conversation
from pipelines.artifacts.tokenization.chat_template import CLOSE, OPEN, ChatTemplate, TemplateError
from pipelines.artifacts.tokenization.tokenizer import (
    CHAT_END,
    CHAT_START,
    CONFIG_FILE,
    TOKENIZER_FILE,
    TextTokenizer,
    read_tokenizer,
)
from pipelines.artifacts.tokenization.tokens import id_dtype


class EncodedChat(NamedTuple):
    """Ids [n] of a conversation, and bool [n]: whether the assistant wrote it."""

    ids: np.ndarray
    trained: np.ndarray

    def cut(self, length: int) -> "EncodedChat":
        """Its first `length` ids."""
        return EncodedChat(self.ids[:length], self.trained[:length])


class ChatTokenizer:
    """The tokenizer of a run for conversations: as its evaluation asks in the chat, so it is trained.

    Raises ValueError if its files cannot be read or it has no chat template.
    """

    def __init__(self, artifact: Path) -> None:
        self.text = TextTokenizer(artifact)
        self._marked = read_tokenizer(artifact / TOKENIZER_FILE)
        self._marked.encode_special_tokens = False
        config = json.loads(read_committed(artifact / CONFIG_FILE))
        if not config.get("chat_template"):
            raise ValueError(
                f"{artifact / CONFIG_FILE}: the tokenizer has no chat template. Take one with {CHAT_START} and "
                f"{CHAT_END}."
            )
        self._template = ChatTemplate(config["chat_template"])
        self._prefix = [self.text.end_id] if config.get("add_bos_token", False) else []
        special = [token.content for token in self._marked.get_added_tokens_decoder().values() if token.special]
        self._forbidden = (*special, OPEN, CLOSE)

    @property
    def dtype(self) -> str:
        """Type of the ids."""
        return id_dtype(self.text.vocab_size)

    def spells_marks(self, conversation: Conversation) -> bool:
        """Whether a speaker writes out a special token, by which he could speak for another."""
        return any(mark in conversation.text for mark in self._forbidden)

    def encode(self, conversation: Conversation) -> EncodedChat:
        """Ids of a conversation, without the answer that a pair rejects. Raises TemplateError.

        An id is trained if a character of it lies in a turn of the assistant, as in
        `transformers.apply_chat_template(..., return_assistant_tokens_mask=True)`.
        """
        return self._encode(*self._template.render_spans(conversation.messages))

    def encode_pair(self, pair: Conversation) -> tuple[EncodedChat, EncodedChat]:
        """The chosen and the rejected side of a pair, each after the turns in front of it. Of both, the last turn alone
        is trained. Raises TemplateError."""
        assert pair.rejected is not None
        *prompt, last = pair.messages
        sides = (self._template.render_spans([*prompt, {**last, "content": text}]) for text in pair.answers)
        better, worse = (self._encode(text, spans[-1:]) for text, spans in sides)
        return better, worse

    def _encode(self, text: str, spans: Sequence[tuple[int, int]]) -> EncodedChat:
        encoding = self._marked.encode(text, add_special_tokens=False)
        trained = np.zeros(len(encoding.ids), dtype=bool)
        for start, end in spans:
            first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
            if first is None or last is None:
                raise TemplateError(f"no token covers the assistant's turn at characters {start} to {end}")
            trained[first : last + 1] = True
        return EncodedChat(
            np.array([*self._prefix, *encoding.ids], dtype=self.dtype),
            np.concatenate([np.zeros(len(self._prefix), dtype=bool), trained]),
        )
