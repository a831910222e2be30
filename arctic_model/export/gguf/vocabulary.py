"""The vocabulary of a GGUF file: byte-level BPE, split into words by a rule that llama.cpp has under a name."""

import json
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from arctic_model.export.errors import ExportError
from arctic_model.export.special_tokens import TOKENIZER, SpecialTokens, read_tokenizer

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen 2's rule, by which the tokenizers of this project's runs split a text."""
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def add_vocabulary(writer: GGUFWriter, folder: Path, num_rows: int) -> None:
    """Add the tokenizer in `folder` to a file.

    Args:
        writer: of the file.
        folder: with tokenizer.json and tokenizer_config.json.
        num_rows: rows of the embedding; those without a token get a placeholder name and are never read.

    Raises:
        ExportError: if llama.cpp has no rule that reads texts as this tokenizer does.
    """
    tokenizer, config = read_tokenizer(folder)
    page = json.loads(tokenizer.to_str())
    _require_byte_level(page, folder / TOKENIZER)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitting_rule(page, folder / TOKENIZER))
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    added = {token["id"]: token["special"] for token in page["added_tokens"]}
    writer.add_token_list([names.get(row, f"[unused {row}]") for row in range(num_rows)])
    writer.add_token_types([_kind(row, names, added) for row in range(num_rows)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in page["model"]["merges"]])
    special = SpecialTokens.read(folder)
    writer.add_bos_token_id(special.begin)
    writer.add_eos_token_id(special.end[0])
    if len(special.end) > 1:
        writer.add_eot_token_id(special.end[1])
    writer.add_pad_token_id(special.pad)
    writer.add_add_bos_token(special.begins)
    if template := config.get("chat_template"):
        writer.add_chat_template(template)


def _require_byte_level(page: dict[str, Any], file: Path) -> None:
    decoder = (page.get("decoder") or {}).get("type")
    if page["model"]["type"] != "BPE" or decoder != "ByteLevel" or page["model"].get("byte_fallback"):
        raise ExportError(
            f"{file}: model {page['model']['type']} with decoder {decoder}: a GGUF file takes byte-level BPE. "
            "Use huggingface."
        )
    if page.get("normalizer"):
        raise ExportError(
            f"{file}: normalizer {page['normalizer']['type']}: llama.cpp reads a text as it is. Use huggingface."
        )


def _splitting_rule(page: dict[str, Any], file: Path) -> str:
    """The name by which llama.cpp knows the rule that splits a text into words."""
    parts = page["pre_tokenizer"] or {}
    steps = parts.get("pretokenizers", [parts])
    patterns = [step["pattern"].get("Regex") for step in steps if step.get("type") == "Split"]
    last = steps[-1]
    if last.get("type") == "ByteLevel" and not last["add_prefix_space"]:
        if not patterns and last["use_regex"] and len(steps) == 1:
            return "gpt-2"
        if patterns in ([QWEN2], [LLAMA3]) and not last["use_regex"] and len(steps) == 2:
            return "qwen2" if patterns == [QWEN2] else "llama-bpe"
    raise ExportError(
        f"{file}: pre_tokenizer splits texts by none of the rules that a GGUF file can name here (GPT-2's, Qwen 2's, "
        "Llama 3's). Use huggingface."
    )


def _kind(row: int, names: dict[int, str], added: dict[int, bool]) -> TokenType:
    if row not in names:
        return TokenType.UNUSED
    if row in added:
        return TokenType.CONTROL if added[row] else TokenType.USER_DEFINED
    return TokenType.NORMAL
