"""Byte-level BPE on a stated sample: the same documents give the same bytes in any order and with any number of
threads."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from pipelines.artifacts.tokenization.tokenizer import CHAT_END, CHAT_START, PAD, TOKENIZER_FILE, write_config

END = "<|end|>"
SPECIAL_TOKENS = (END, PAD, CHAT_START, CHAT_END)
"""Ids 0, 1, 2, 3."""
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Boundaries that merges may not cross: the rule of Qwen 2 (Llama 3's with single digits). One digit a token, because
numbers of SQL and code then always split at the same positions and a value can be copied digit by digit; indentation
stays in runs, which code needs."""
LONGEST_WORD = 1024
"""Characters between two boundaries that merges may not cross, in training alone: the library's time for one word grows
with the square of its length, and a run of a million blanks or letters would take it minutes."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` ids, special tokens first, then all 256 bytes.

    Byte pair encoding after Sennrich et al. 2016 (arXiv 1508.07909), on bytes as in GPT-2. Has fewer ids than requested
    if the texts have no more pairs that occur twice.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = training_splitter()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = _split_at(WORDS)
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a trained tokenizer and its configuration, in the form that Hugging Face tools read."""
    tokenizer.save(str(folder / TOKENIZER_FILE), pretty=True)
    write_config(tokenizer, END, folder)


def training_splitter() -> pre_tokenizers.PreTokenizer:
    """Cuts a text into the words that the trainer counts."""
    return _split_at(WORDS, rf"[\s\S]{{1,{LONGEST_WORD}}}")


def _split_at(*patterns: str) -> pre_tokenizers.PreTokenizer:
    """Splits a text at matches of the first of `patterns`, each piece at matches of the next, then into bytes."""
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
