"""From scores to decisions: which documents to keep, and what to black out in them. No text is read."""

from pipelines.filter.from_recipe import pin
from pipelines.filter.stage import FilterInputs, stage

__all__ = ["FilterInputs", "pin", "stage"]
