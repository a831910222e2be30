"""Scores of a checkpoint: held-out documents, questions of the run's own, and the tasks that Arctic was judged by."""

from pipelines.evaluate.stage import CorpusDecisions, PhaseInputs, Spread, checkpoint_stage, stage

__all__ = ["CorpusDecisions", "PhaseInputs", "Spread", "checkpoint_stage", "stage"]
