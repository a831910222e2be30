"""Train the tokenizer on all corpora; encode and pack each corpus into sequences."""

from pipelines.tokenize.stage import stage, tokenizer_stage

__all__ = ["stage", "tokenizer_stage"]
