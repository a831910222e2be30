"""Exact and near duplicates: clusters, evidence, decisions."""

from pipelines.dedup.from_recipe import fingerprint
from pipelines.dedup.stage import DedupInputs, Deduplicated, stage

__all__ = ["DedupInputs", "Deduplicated", "fingerprint", "stage"]
