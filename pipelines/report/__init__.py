"""One offline page about the whole run, and its figures."""

from pipelines.report.stage import stage

__all__ = ["stage"]
