"""The stage `export`: a checkpoint in the format of other engines."""

from pipelines.export.inputs import CorpusHistory, ExportInputs
from pipelines.export.stage import stage

__all__ = ["CorpusHistory", "ExportInputs", "stage"]
