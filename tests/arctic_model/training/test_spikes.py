"""Which steps are skipped, against the rule written out over the whole history."""

import json
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arctic_model.config import ArcticConfig
from arctic_model.presets import preset
from arctic_model.training.optimization.settings import Optimization, Tuning
from arctic_model.training.spikes import SpikeGuard, SpikePolicy, norm_conditions

NORMS = st.one_of(st.floats(0.01, 2.0), st.floats(2.0, 1e6), st.sampled_from([math.nan, math.inf]))
POLICY = SpikePolicy(factor=3.0, window=6, max_skipped=4)


def run(guard: SpikeGuard, norms: list[float], first: int = 1) -> list[bool]:
    """Which of the norms are skipped, until the guard gives up."""
    skipped = []
    for step, norm in enumerate(norms, start=first):
        skipped.append(guard.fault(1.0, norm) is not None)
        if not skipped[-1]:
            guard.take(norm)
        elif not guard.skip(step):
            break
    return skipped


def by_definition(norms: list[float]) -> list[bool]:
    skipped: list[bool] = []
    for norm in norms:
        accepted = [earlier for earlier, skip in zip(norms, skipped, strict=False) if not skip][-6:]
        spike = len(accepted) >= 3 and norm > 3.0 * np.median(accepted)
        skipped.append(bool(spike or not np.isfinite(norm)))
        if sum(skipped[-6:]) > 4:
            break
    return skipped


@settings(max_examples=30, deadline=None)
@given(st.lists(NORMS, max_size=40))
def test_steps_are_skipped_by_the_median_of_the_taken_ones(norms: list[float]) -> None:
    assert run(SpikeGuard(POLICY), norms) == by_definition(norms)


@settings(max_examples=30, deadline=None)
@given(st.lists(NORMS, max_size=40), st.integers(0, 40))
def test_a_guard_made_from_what_another_remembers_goes_on_as_it_would(norms: list[float], cut: int) -> None:
    whole = run(SpikeGuard(POLICY), norms)
    guard = SpikeGuard(POLICY)
    before = run(guard, norms[:cut])
    if len(before) < len(norms[:cut]):
        return
    after = run(SpikeGuard(POLICY, list(guard.norms), list(guard.skipped)), norms[cut:], first=cut + 1)
    assert before + after == whole or len(whole) == cut


@pytest.mark.parametrize(
    ("loss", "norm", "said"),
    [
        (math.nan, 1.0, "the loss is nan"),
        (1.0, math.inf, "the gradient norm is inf"),
        (1.0, 30.5, "the gradient norm is 30.5, more than 10 times its median 3"),
    ],
)
def test_a_fault_is_said_with_its_numbers(loss: float, norm: float, said: str) -> None:
    assert SpikeGuard(SpikePolicy(), [3.0] * 64).fault(loss, norm) == said


@pytest.mark.parametrize(
    ("loss_by_corpus", "said"),
    [
        ({"web": 2.0, "code": math.nan, "math": 3.0}, "the loss is nan (by corpus: code nan; finite in web, math)"),
        ({"web": math.inf, "code": math.nan}, "the loss is nan (by corpus: web inf, code nan; finite in none)"),
        ({}, "the loss is nan"),
    ],
)
def test_a_loss_that_is_no_number_is_told_by_corpus(loss_by_corpus: dict[str, float], said: str) -> None:
    assert SpikeGuard(SpikePolicy()).fault(math.nan, 1.0, loss_by_corpus) == said


def test_nothing_is_far_out_before_half_of_the_window_is_known() -> None:
    assert SpikeGuard(SpikePolicy(), [1.0] * 63).fault(1.0, 1e9) is None
    assert SpikeGuard(SpikePolicy(), [1.0] * 64).fault(1.0, 1e9) is not None


OTHER_GRADIENTS = {
    "balance_loss_coefficient": 0.1,
    "z_loss_coefficient": 0.1,
    "capacity_factor": 1.5,
    "dtype": "bfloat16",
    "gradient_dtype": "bfloat16",
    "fp8": True,
    "freeze": ("experts",),
}
SAME_GRADIENTS = {
    "optimizer": "muon",
    "embedding_lr_factor": 2.0,
    "head_lr_factor": 2.0,
    "gate_lr_factor": 2.0,
    "norm_lr_factor": 2.0,
    "weight_decay": 0.2,
    "beta1": 0.8,
    "beta2": 0.9,
    "gradient_clip": 2.0,
    "balance_bias_rate": 0.1,
    "activation_checkpointing": "layer",
    "engine": "flat",
    "zero_stage": 3,
    "shard_group_size": 2,
    "deterministic": False,
    "seed": 1,
    "tuning": Tuning(),
}
"""With these a step from the same weights has the same gradient up to rounding. A run does not change its objective."""
CONFIG = preset("tiny")


def conditions(config: ArcticConfig = CONFIG, length: int = 256, tokens: int = 4096, **settings: Any) -> dict[str, Any]:
    return norm_conditions(config, replace(Optimization(), **settings), length, tokens)


def test_every_setting_either_changes_gradients_or_does_not() -> None:
    assert {*OTHER_GRADIENTS, *SAME_GRADIENTS} == {field.name for field in fields(Optimization)}
    assert not {*OTHER_GRADIENTS} & {*SAME_GRADIENTS}


@pytest.mark.parametrize("name", OTHER_GRADIENTS)
def test_a_setting_that_changes_gradients_is_a_condition_of_their_norms(name: str) -> None:
    assert conditions(**{name: OTHER_GRADIENTS[name]}) != conditions()


@pytest.mark.parametrize("name", SAME_GRADIENTS)
def test_a_setting_that_changes_no_gradient_is_no_condition(name: str) -> None:
    assert conditions(**{name: SAME_GRADIENTS[name]}) == conditions()


@pytest.mark.parametrize(
    "other",
    [
        {"length": 512},
        {"tokens": 8192},
        {"config": replace(CONFIG, rope_theta=2e6)},
        {"config": replace(CONFIG, yarn_factor=4.0, yarn_original_positions=64)},
        {"config": replace(CONFIG, yarn_factor=4.0, yarn_original_positions=64, yarn_attention_factor=1.2)},
    ],
)
def test_length_batch_and_positions_are_conditions(other: dict[str, Any]) -> None:
    assert conditions(**other) != conditions()


def test_conditions_are_what_their_checkpoint_gives_back() -> None:
    own = conditions(freeze=("router", "experts"))
    assert json.loads(json.dumps(own)) == own
    assert own == conditions(freeze=("experts", "router"))
