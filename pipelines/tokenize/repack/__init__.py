"""Pack tokenized documents into sequences of another length."""

from pipelines.tokenize.repack.stage import repack_stage

__all__ = ["repack_stage"]
