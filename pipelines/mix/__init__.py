"""The exact order of one curriculum phase's sequences."""

from pipelines.mix.finetune_stage import finetune_stage
from pipelines.mix.from_recipe import check_budgets
from pipelines.mix.stage import Lengths, MixInputs, pass_length, stage

__all__ = ["Lengths", "MixInputs", "check_budgets", "finetune_stage", "pass_length", "stage"]
