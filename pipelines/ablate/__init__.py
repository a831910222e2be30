"""Choose the best mixture of a phase from small runs over drawn mixtures."""

from pipelines.ablate.stage import stage

__all__ = ["stage"]
