"""The bytes of text of each id of a tokenizer, so that bits per byte can be counted.

Two families know them: byte-level tokenizers (GPT-2), whose names spell bytes by letters, and those of SentencePiece
with byte fallback (Llama, Gemma, Unigram), whose names are text with a mark for a blank, and `<0x0A>` for one byte.
"""

import json
import re
from functools import cache

from tokenizers import Regex, Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Sequence, Split

MARK = "\u2581"
"""SentencePiece writes it for a blank; a literal one in a text is decoded as a blank."""
BYTE_NAME = re.compile("<0x([0-9A-F]{2})>")
ONE_BYTE = r"0x[0-9A-F]{2}>"


def is_byte_level(tokenizer: Tokenizer) -> bool:
    """Whether the names of tokens spell bytes."""
    return "ByteLevel" in _decoder(tokenizer)


def has_byte_fallback(tokenizer: Tokenizer) -> bool:
    """Whether every byte has a token, and the decoder puts them together again."""
    names = tokenizer.get_vocab()
    return "ByteFallback" in _decoder(tokenizer) and all(f"<0x{byte:02X}>" in names for byte in range(256))


def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes of text of each id; none for special tokens."""
    names = tokenizer.get_vocab()
    read = _of_letters if is_byte_level(tokenizer) else _of_piece
    table = [b""] * (max(names.values()) + 1)
    for name, index in names.items():
        table[index] = read(name)
    for index, token in tokenizer.get_added_tokens_decoder().items():
        table[index] = b"" if token.special else token.content.encode()
    return table


def adds_blank(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer puts a blank before every text: `add_dummy_prefix` of SentencePiece."""
    if is_byte_level(tokenizer):
        return False
    table = token_bytes(tokenizer)
    return b"".join(table[index] for index in tokenizer.encode("a", add_special_tokens=False).ids) == b" a"


def keep_special_names_apart(tokenizer: Tokenizer) -> None:
    """Let a Unigram model read the name of a special token, or of a byte, in a text as its letters.

    Its search takes every name of the vocabulary for text. Such a name is cut behind its first character before the
    search.
    """
    if not isinstance(tokenizer.model, models.Unigram):
        return
    special = (token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)
    cuts = [f"(?<=<)(?={ONE_BYTE})"]
    cuts += [f"(?<={_literal(name[0])})(?={_literal(name[1:])})" for name in special if len(name) > 1]
    guard = Split(Regex("|".join(cuts)), "isolated")
    before: PreTokenizer | None = tokenizer.pre_tokenizer
    tokenizer.pre_tokenizer = guard if before is None else Sequence([before, guard])


def _literal(text: str) -> str:
    return "".join(f"\\x{{{ord(character):X}}}" for character in text)


def _decoder(tokenizer: Tokenizer) -> str:
    return json.dumps(json.loads(tokenizer.to_str())["decoder"])


def _of_letters(name: str) -> bytes:
    letters = _byte_letters()
    return b"".join(letters.get(letter, letter.encode()) for letter in name)


def _of_piece(name: str) -> bytes:
    if byte := BYTE_NAME.fullmatch(name):
        return bytes([int(byte[1], 16)])
    return name.replace(MARK, " ").encode()


@cache
def _byte_letters() -> dict[str, bytes]:
    alphabet = set(ByteLevel.alphabet())
    # Printable bytes are their own letters; the others take those from U+0100 on, in order.
    shifted = iter(range(256, 512))
    return {(chr(b) if chr(b) in alphabet else chr(next(shifted))): bytes([b]) for b in range(256)}
