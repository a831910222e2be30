"""Train the tokenizer on all corpora, or take one; encode and pack each corpus into sequences."""

from pipelines.tokenize.existing_stage import existing_tokenizer_stage, fingerprint
from pipelines.tokenize.repack import repack_stage
from pipelines.tokenize.stage import TokenizeInputs, stage, tokenizer_stage
from pipelines.tokenize.training_documents import TrainingDocuments

__all__ = [
    "TokenizeInputs",
    "TrainingDocuments",
    "existing_tokenizer_stage",
    "fingerprint",
    "repack_stage",
    "stage",
    "tokenizer_stage",
]
