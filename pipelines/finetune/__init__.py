"""One fine-tune: from a checkpoint and conversations to the next checkpoint."""

from pipelines.finetune.stage import FinetuneInputs, stage

__all__ = ["FinetuneInputs", "stage"]
