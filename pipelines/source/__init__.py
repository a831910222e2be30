"""Fetch raw bytes and take text from them: documents with provenance."""

from pipelines.source.from_recipe import pin, question_kinds
from pipelines.source.stage import stage

__all__ = ["pin", "question_kinds", "stage"]
