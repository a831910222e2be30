"""Scores of a checkpoint: held-out documents, questions of the run's own, and the tasks that Arctic was judged by."""

from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.stage import CorpusDecisions, PhaseInputs, checkpoint_stage, stage

__all__ = ["CorpusDecisions", "Execution", "PhaseInputs", "checkpoint_stage", "stage"]
