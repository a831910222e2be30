"""Which mixture of a phase serves best: what small runs over drawn mixtures say."""

from pipelines.ablate.stage import stage

__all__ = ["stage"]
