"""Metadata of a tokenizer that other engines need: the ids that begin, end and pad a text, and that a text has a
begin."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import Sequence, TemplateProcessing

from arctic_model.export.errors import ExportError

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
CHAT_END = "<|im_end|>"
"""Ends a turn of a chat in Arctic-instruct's template (ChatML)."""


@dataclass(frozen=True)
class SpecialTokens:
    """`begin`: of a text, which `begins` with it if the model was trained so; `end`: of a text, and of a turn of a chat
    if the tokenizer has such a token; `pad`."""

    begin: int
    begins: bool
    end: tuple[int, ...]
    pad: int

    @classmethod
    def read(cls, folder: Path) -> "SpecialTokens":
        """Those of the tokenizer in `folder`. Raises ExportError if there is none, or one of its tokens has no id."""
        tokenizer, config = read_tokenizer(folder)
        ids = {}
        for name in ("bos_token", "eos_token", "pad_token"):
            token = config.get(name)
            text = token.get("content") if isinstance(token, dict) else token
            number = tokenizer.token_to_id(text) if text else None
            if number is None:
                raise ExportError(
                    f"{folder / TOKENIZER_CONFIG}: {name} = {text!r} is no token of {TOKENIZER}. Name one that is."
                )
            ids[name] = number
        chat_end = tokenizer.token_to_id(CHAT_END)
        end = (ids["eos_token"],) if chat_end is None else (ids["eos_token"], chat_end)
        begins = bool(config.get("add_bos_token", False))
        return cls(ids["bos_token"], begins, tuple(dict.fromkeys(end)), ids["pad_token"])


def write_tokenizer(source: Path, out: Path) -> None:
    """Write the tokenizer of `source` into `out` so that other libraries begin a text as the model was trained.

    `transformers` puts the special tokens of tokenizer.json before a text and ignores `add_bos_token`.
    """
    tokenizer, config = read_tokenizer(source)
    special = SpecialTokens.read(source)
    if special.begins and tokenizer.encode("a").ids[:1] != [special.begin]:
        token = tokenizer.id_to_token(special.begin)
        begin = TemplateProcessing(
            single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, special.begin)]
        )
        before = tokenizer.post_processor
        tokenizer.post_processor = Sequence([before, begin]) if before else begin
    tokenizer.save(str(out / TOKENIZER))
    (out / TOKENIZER_CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")


def read_tokenizer(folder: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer in `folder` and its configuration. Raises ExportError if one of them is missing or unreadable."""
    for name in (TOKENIZER, TOKENIZER_CONFIG):
        if not (folder / name).is_file():
            raise ExportError(f"{folder}: holds no {name}. Name the folder of the model's tokenizer with --tokenizer.")
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises plain Exception for every fault
        raise ExportError(f"{folder / TOKENIZER}: not a readable tokenizer ({error}). Build it again.") from error
    config: dict[str, Any] = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    return tokenizer, config
