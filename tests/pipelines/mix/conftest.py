"""A run recipe around the phases of a test."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from data_recipes import RunRecipe
from data_recipes.sections.curriculum import PhaseSection


@pytest.fixture
def run_recipe() -> Callable[..., RunRecipe]:
    """`run_recipe(phases, **fields of mix)`: T is `length`, a step has `per_step` sequences."""

    def make(
        phases: Sequence[PhaseSection | dict[str, Any]], length: int = 8, per_step: int = 4, **mix: Any
    ) -> RunRecipe:
        page = {
            "name": "tiny",
            "description": "",
            "corpora": ["web.toml"],
            "tokenizer": {"vocab_size": 300, "sample_bytes_per_corpus": 1},
            "tokenize": {"sequence_length": length},
            "mix": mix,
            "phases": [phase if isinstance(phase, dict) else phase.model_dump() for phase in phases],
            "model": {"preset": "tiny"},
            "train": {"global_batch_sequences": per_step, "micro_batch_sequences": 1, "peak_lr": 1.0},
            "evaluate": {"heldout_bytes_per_corpus": 1},
        }
        return RunRecipe.model_validate(page)

    return make
