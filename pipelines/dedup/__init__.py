"""Exact and near duplicates: clusters, evidence, decisions."""

from pipelines.dedup.from_recipe import pin
from pipelines.dedup.stage import DedupInputs, Deduplicated, stage

__all__ = ["DedupInputs", "Deduplicated", "pin", "stage"]
