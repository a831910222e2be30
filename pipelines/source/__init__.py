"""Fetch raw bytes and take text from them: documents with provenance."""

from pipelines.source.from_recipe import fingerprint, question_kinds
from pipelines.source.stage import stage

__all__ = ["fingerprint", "question_kinds", "stage"]
