"""One phase of pretraining, from a checkpoint or nothing to the next checkpoint; and the job, for fine-tuning too."""

from pipelines.train.first_weights import PinnedWeights
from pipelines.train.from_recipe import SegmentSettings, new_job
from pipelines.train.job import TrainJob
from pipelines.train.stage import TrainInputs, key_params, resources, stage, train_job
from pipelines.train.weights_of_recipe import RunWeights, fingerprint

__all__ = [
    "PinnedWeights",
    "RunWeights",
    "SegmentSettings",
    "TrainInputs",
    "TrainJob",
    "fingerprint",
    "key_params",
    "new_job",
    "resources",
    "stage",
    "train_job",
]
