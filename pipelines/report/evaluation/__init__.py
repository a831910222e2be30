"""The page about evaluated checkpoints: scores over tokens and compute, changes, and answers side by side."""

from pipelines.report.evaluation.stage import stage

__all__ = ["stage"]
