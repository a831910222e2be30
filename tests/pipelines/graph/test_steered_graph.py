"""Which stages a change of settings leaves alone, by their keys."""

from pathlib import Path
from typing import Any

import pytest

from pipelines import load_recipe
from tests.kit.lengthened import LENGTHS

QUICKSTART = Path(__file__).parents[3] / "data_recipes" / "runs" / "quickstart.toml"
STAGES = ("mix[1]", "train[1]", "mix[2]", "train[2]", "mix[3]", "train[3]")


def keys(*overrides: str) -> dict[str, Any]:
    stages = load_recipe(QUICKSTART, (*LENGTHS, *overrides)).graph().stages
    return {name: stages[name].key for name in STAGES}


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return keys()


def changed(plain: dict[str, Any], *overrides: str) -> list[str]:
    now = keys(*overrides)
    return [name for name in STAGES if now[name] != plain[name]]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("amendments=[{from_step=100, train.peak_lr=0.005}]", ["train[2]", "train[3]"]),
        ("amendments=[{from_step=144, train.spike_factor=20.0}]", []),
        ("amendments=[{from_step=150, train.spike_factor=20.0}]", ["train[3]"]),
        ("phases.3.train.peak_lr=0.005", ["train[3]"]),
        ("phases.2.train.peak_lr=0.005", ["train[2]", "train[3]"]),
        ("phases.2.train.checkpoint_every_steps=10", []),
        ("train.checkpoint_every_steps=10", []),
        ("train.zero_stage=2", []),
        ("train.spike_factor=20.0", []),
        ("train.max_skipped_steps=20", []),
        ("train.keep_every_steps=80", []),
    ],
)
def test_a_change_reaches_only_the_steps_after_it(plain: dict[str, Any], override: str, expected: list[str]) -> None:
    assert changed(plain, override) == expected
