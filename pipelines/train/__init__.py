"""One phase of pretraining, from a checkpoint or nothing to the next checkpoint; and the job, for fine-tuning too."""

from pipelines.train.first_weights import PinnedWeights, pin
from pipelines.train.job import TrainJob, require_gpus
from pipelines.train.stage import TrainInputs, key_params, resources, stage, train_job

__all__ = [
    "PinnedWeights",
    "TrainInputs",
    "TrainJob",
    "key_params",
    "pin",
    "require_gpus",
    "resources",
    "stage",
    "train_job",
]
