"""One phase of pretraining: from a checkpoint, or nothing, to the next checkpoint."""

from pipelines.train.stage import TrainInputs, stage

__all__ = ["TrainInputs", "stage"]
