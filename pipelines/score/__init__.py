"""Measure every document once; decide nothing."""

from pipelines.score.from_recipe import fingerprint, score_columns
from pipelines.score.quality.training import train_quality_model
from pipelines.score.stage import stage

__all__ = ["fingerprint", "score_columns", "stage", "train_quality_model"]
