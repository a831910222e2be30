"""A phase whose router is out of balance logs a warning, in the console and in MLflow."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.artifacts.checkpoint import EXPERT_LOAD_FILE

ALL_TOKENS_ALIKE = {"global_batch_sequences": 24, "micro_batch_sequences": 12, "checkpoint_every_steps": 4}
"""Enough assignments of each expert between two checkpoints to be judged."""


def warnings(workshop) -> list[str]:
    return [event["message"] for event in workshop.events if event["event"] == "warning"]


def loads(out: Path, num_experts: int) -> list[float]:
    return [num_experts * share for share in pq.read_table(out / EXPERT_LOAD_FILE)["share"].to_pylist()]


@pytest.mark.parametrize(("num_experts", "top_k"), [(4, 4), (16, 2)])
def test_a_warning_comes_where_the_loads_that_are_kept_say_so(workshop, num_experts: int, top_k: int) -> None:
    """Of sixteen experts without a balance loss some starve; of four that are always chosen none can."""
    section = ALL_TOKENS_ALIKE | {"balance_loss_coefficient": 0.0, "peak_lr": 0.02}
    stage = workshop.stage(model={"num_experts": num_experts, "top_k": top_k}, **section)
    out, _ = workshop.run("phase", workshop.inputs(1, steps=72), stage)
    result = loads(out, num_experts)
    starved, crowded = sum(load < 0.1 for load in result), sum(load > 3 for load in result)
    _, last = max(workshop.points(), key=lambda point: point[0])
    assert (last["router/starved_experts"], last["router/crowded_experts"]) == (starved, crowded)
    assert bool(warnings(workshop)) == bool(starved + crowded) == (num_experts == 16)


def test_the_warning_is_given_once_and_names_the_experts_and_the_mend(workshop) -> None:
    section = ALL_TOKENS_ALIKE | {"balance_loss_coefficient": 0.0, "peak_lr": 0.02}
    stage = workshop.stage(model={"num_experts": 16}, **section)
    workshop.run("phase", workshop.inputs(1, steps=72), stage)
    (message,) = warnings(workshop)
    assert "the router is out of balance. Of 32 experts " in message
    assert "raise train.balance_loss_coefficient = 0, or set train.balance_bias_rate = 0.001." in message
