"""Measure every document once; decide nothing."""

from pipelines.score.files import pin
from pipelines.score.quality.training import train_quality_model
from pipelines.score.stage import stage

__all__ = ["pin", "stage", "train_quality_model"]
