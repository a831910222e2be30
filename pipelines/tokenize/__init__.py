"""Train the tokenizer on all corpora, or take one; encode and pack each corpus into sequences."""

from pipelines.tokenize.existing import existing_tokenizer_stage, pin
from pipelines.tokenize.stage import stage, tokenizer_stage

__all__ = ["existing_tokenizer_stage", "pin", "stage", "tokenizer_stage"]
