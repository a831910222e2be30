"""One fine-tune: from a checkpoint and conversations to the next checkpoint."""

from pipelines.finetune.stage import FinetuneInputs, stage
from pipelines.finetune.start_stage import start_stage

__all__ = ["FinetuneInputs", "stage", "start_stage"]
