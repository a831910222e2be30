"""From text to ids and back, chat template included."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from infra.store.integrity import read_committed
from pipelines.artifacts.tokenization.chat_template import ChatTemplate, Messages
from pipelines.artifacts.tokenization.tokenizer import (
    CHAT_END,
    CONFIG_FILE,
    TOKENIZER_FILE,
    TextTokenizer,
    read_tokenizer,
)

"""Turns of a chat, each with `role` and `content`."""


class TextCodec(Protocol):
    """From text to ids and back. `prefix_id` precedes a text that has no context; `end_ids` end an answer; `template`:
    the chat template, None if the tokenizer has none; `vocabulary`: the id of each token, without tokens that were
    added later."""

    prefix_id: int
    end_ids: frozenset[int]
    template: str | None

    @property
    def vocabulary(self) -> Mapping[str, int]: ...

    def encode(self, text: str, *, begin: bool = True, marks: bool = False) -> list[int]:
        """Ids of `text`. `begin`: start with the ids that the tokenizer puts before every text; `marks`: parse special
        tokens in the text as such."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without special tokens."""

    def chat(self, messages: Messages, *, begun: bool = False) -> str:
        """The messages in the chat template up to the start of the assistant's next turn, or if that is `begun`, up to
        the end of the last message. Raises ValueError if there is no template, and TemplateError if it does not take
        them."""


class ArcticCodec:
    """TextCodec of a run's tokenizer. Raises ValueError if its files cannot be read.

    If tokenizer_config.json has `add_bos_token`, the end token precedes a text, as it separates documents in training:
    other engines follow that too.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / TOKENIZER_FILE).is_file():
            raise ValueError(f"{folder}: holds no {TOKENIZER_FILE}. Name the folder of the tokenizer as well.")
        self._tokenizer = TextTokenizer(folder)
        self._marked = read_tokenizer(folder / TOKENIZER_FILE)
        self._marked.encode_special_tokens = False
        config = json.loads(read_committed(folder / CONFIG_FILE))
        self._begins = bool(config.get("add_bos_token", False))
        self._folder = folder
        self.template = config.get("chat_template")
        self.prefix_id = self._tokenizer.end_id
        chat_end = self._marked.token_to_id(CHAT_END)
        self.end_ids = frozenset({self.prefix_id} if chat_end is None else {self.prefix_id, chat_end})

    @property
    def vocabulary(self) -> Mapping[str, int]:
        return self._marked.get_vocab()

    def encode(self, text: str, *, begin: bool = True, marks: bool = False) -> list[int]:
        ids = self._marked.encode(text, add_special_tokens=False).ids if marks else self._tokenizer.encode(text)
        return [self.prefix_id, *ids] if begin and self._begins else ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)

    def chat(self, messages: Messages, *, begun: bool = False) -> str:
        if self.template is None:
            raise ValueError(f"{self._folder}: its tokenizer has no chat template. Ask without one.")
        template = ChatTemplate(self.template)
        return template.render_begun(messages) if begun else template.render(messages, add_generation_prompt=True)
