"""A model behind a server reads documents: labels for filters, or texts that become documents of another corpus."""

from pipelines.annotate.stage import stage

__all__ = ["stage"]
