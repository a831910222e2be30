"""One phase of pretraining, from a checkpoint or nothing to the next checkpoint; and the job, for fine-tuning too."""

from pipelines.train.job import TrainJob, require_gpus
from pipelines.train.stage import TrainInputs, key_params, resources, stage, train_job

__all__ = ["TrainInputs", "TrainJob", "key_params", "require_gpus", "resources", "stage", "train_job"]
