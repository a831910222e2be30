"""Exact and near duplicates: clusters, evidence, decisions."""

from pipelines.dedup.stage import stage

__all__ = ["stage"]
