"""Measure every document once; decide nothing."""

from pipelines.score.from_recipe import pin, score_columns
from pipelines.score.quality.training import train_quality_model
from pipelines.score.stage import stage

__all__ = ["pin", "score_columns", "stage", "train_quality_model"]
