"""Fetch raw bytes and take text from them: documents with provenance."""

from pipelines.source.inputs import pin
from pipelines.source.stage import stage

__all__ = ["pin", "stage"]
