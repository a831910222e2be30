"""A byte-level tokenizer without training: its tokens are bytes, and the special tokens of a chat."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

END, PAD, CHAT_START, CHAT_END = SPECIAL = ("<|end|>", "<|pad|>", "<|im_start|>", "<|im_end|>")


def write_byte_tokenizer(folder: Path, **config: object) -> Tokenizer:
    """Write tokenizer.json and tokenizer_config.json with `config` on top: ids 0 to 3 are SPECIAL, then 256 bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merge = ("Ġ", "t")
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *letters, "".join(merge)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [merge]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    plain = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "pad_token": PAD,
        "add_bos_token": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(plain | config))
    return tokenizer
