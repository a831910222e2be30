"""The evaluations within a phase, their inputs, and the changes that leave their keys alone."""

from pathlib import Path

import pytest

from data_recipes.schema import RunRecipe
from pipelines import load_recipe
from pipelines.graph.curve import steps_to_measure
from tests.kit.lengthened import LENGTHS

QUICKSTART = Path(__file__).parents[3] / "data_recipes" / "runs" / "quickstart.toml"
KEEP = ("train.checkpoint_every_steps=24", "train.keep_weights_every_steps=24")
"""The weights of the steps 24, 48, 72, 96 and so on are saved."""


def recipe(*overrides: str) -> RunRecipe:
    return load_recipe(QUICKSTART, (*LENGTHS, *overrides)).require_run()


def measured(run: RunRecipe, every_tokens: int) -> list[list[int]]:
    phases = zip(run.segments, run.sequence_lengths, strict=True)
    return [list(steps_to_measure(segments, length, every_tokens)) for segments, length in phases]


def test_one_kept_checkpoint_is_scored_for_every_so_many_tokens() -> None:
    run = recipe(*KEEP)
    remaining = [[24, 48], [96, 120], [*range(168, 352, 24)]]
    assert measured(run, 2048) == measured(run, 24 * 2048) == remaining
    # The end of a phase is scored in any case.
    assert measured(run, 48 * 2048) == [[48], [96], [192, 240, 288, 336]]
    assert measured(run, 50 * 2048) == [[], [120], [168, 216, 264, 312]]
    assert measured(run, 400 * 2048) == measured(run, 0) == measured(recipe(), 2048) == [[], [], []]


def test_tokens_are_counted_over_amendments_of_the_batch() -> None:
    run = recipe(*KEEP, "amendments=[{from_step=168, train.global_batch_sequences=16}]")
    tokens = [segment.first_tokens for segment in run.segments[2]]
    assert tokens == [144 * 2048, 168 * 2048]
    # From step 168 on a step has twice the tokens.
    assert measured(run, 96 * 2048)[2] == [192, 240]


def test_a_curve_leaves_the_keys_of_the_run_alone_and_is_read_by_the_report() -> None:
    plain = load_recipe(QUICKSTART, LENGTHS).graph().stages
    curved = load_recipe(QUICKSTART, (*LENGTHS, *KEEP, "evaluate.every_tokens=98304")).graph().stages
    added = ["evaluate[1.48]", "evaluate[2.96]", *(f"evaluate[3.{step}]" for step in (192, 240, 288, 336))]
    assert [name for name in curved if name not in plain] == added
    assert {name for name in plain if plain[name].key != curved[name].key} == {"report"}
    early = curved["evaluate[1.48]"]
    assert early.early and early.early.leaves == (f"1-{curved['train[1]'].key}.weights/step-000000048",)
    assert set(added) < {stage.id for stage in curved["report"].inputs.values()}


@pytest.mark.parametrize(("step", "keys"), [(168, ["now", "before"]), (240, ["now"])])
def test_weights_from_before_an_amendment_are_those_of_the_attempt_without_it(step: int, keys: list[str]) -> None:
    curve = (*LENGTHS, *KEEP, "evaluate.every_tokens=2048")
    before = load_recipe(QUICKSTART, curve).graph().stages["train[3]"].key
    amended = (*curve, "amendments=[{from_step=200, train.peak_lr=0.001}]")
    stages = load_recipe(QUICKSTART, amended).graph().stages
    now = stages["train[3]"].key
    early = stages[f"evaluate[3.{step}]"].early
    assert early
    assert [leaf.split(".")[0] for leaf in early.leaves] == [
        f"3-{ {'now': now, 'before': before}[key] }" for key in keys
    ]
