"""The exact order of one curriculum phase's sequences."""

from pipelines.mix.budgets import all_shares, check_budgets
from pipelines.mix.conversations import finetune_stage
from pipelines.mix.stage import Lengths, MixInputs, pass_length, stage

__all__ = ["Lengths", "MixInputs", "all_shares", "check_budgets", "finetune_stage", "pass_length", "stage"]
