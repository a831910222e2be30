"""Score every document, decide from the scores which to keep."""

from pipelines.filter.stage import stage

__all__ = ["stage"]
