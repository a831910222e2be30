"""The exact order of one curriculum phase's sequences."""

from pipelines.mix.budgets import all_shares, check_budgets
from pipelines.mix.stage import pass_length, stage

__all__ = ["all_shares", "check_budgets", "pass_length", "stage"]
