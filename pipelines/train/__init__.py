"""One phase of pretraining: from a checkpoint, or nothing, to the next checkpoint."""

from pipelines.train.stage import stage

__all__ = ["stage"]
