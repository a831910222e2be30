"""Scores of one checkpoint: bits per byte on held-out documents, and the share of SQL questions answered rightly."""

from pipelines.evaluate.stage import stage

__all__ = ["stage"]
