"""Scores of a checkpoint: held-out documents, questions of the run's own, and the tasks that Arctic was judged by."""

from pipelines.evaluate.compare_stage import comparison_stage
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.stage import (
    CorpusDecisions,
    Origin,
    PhaseInputs,
    checkpoint_stage,
    rescoring_stage,
    server_stage,
    stage,
    vllm_stage,
)

__all__ = [
    "CorpusDecisions",
    "Execution",
    "Origin",
    "PhaseInputs",
    "checkpoint_stage",
    "comparison_stage",
    "rescoring_stage",
    "server_stage",
    "stage",
    "vllm_stage",
]
