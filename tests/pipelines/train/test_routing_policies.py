"""Balance by a bias, capacity and activation checkpointing, from the recipe to the checkpoint."""

from pathlib import Path

import pytest
import torch

from arctic_model.model import ArcticModel
from data_recipes import RecipeError, load_recipe
from infra.store import file_digest
from pipelines.artifacts.checkpoint import checkpoint_folder

QUICKSTART = Path(__file__).parents[3] / "data_recipes" / "runs" / "quickstart.toml"
BIASED = {"balance_loss_coefficient": 0.0, "balance_bias_rate": 0.01, "capacity_factor": 1.0}


def biases(out: Path) -> torch.Tensor:
    return torch.stack(list(ArcticModel.from_pretrained(checkpoint_folder(out)).buffers()))


def test_biases_go_on_from_phase_to_phase(workshop) -> None:
    first, _ = workshop.run("first", workshop.inputs(1, steps=4), workshop.stage(**BIASED))
    second, _ = workshop.run("second", workshop.inputs(2, steps=2, previous=first), workshop.stage(2, **BIASED))
    assert biases(first).any()
    moved = (biases(second) - biases(first)).abs() / 0.01
    assert 0 < moved.amax() < 2.01
    torch.testing.assert_close(moved, moved.round(), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["selective", "layer"])
def test_activations_made_again_leave_the_same_bytes(workshop, policy: str) -> None:
    remaining, _ = workshop.run("kept", workshop.inputs(1), workshop.stage(**BIASED))
    again, _ = workshop.run("again", workshop.inputs(1), workshop.stage(**BIASED, activation_checkpointing=policy))
    for file in sorted(checkpoint_folder(remaining).iterdir()):
        assert file_digest(checkpoint_folder(again) / file.name) == file_digest(file), file.name


def test_a_model_without_a_rate_has_no_biases(workshop) -> None:
    out, _ = workshop.run("plain", workshop.inputs(1, steps=1), workshop.stage())
    assert list(ArcticModel.from_pretrained(checkpoint_folder(out)).buffers()) == []


def test_only_what_changes_a_bit_is_in_the_key(workshop) -> None:
    plain = workshop.stage().key
    assert workshop.stage(activation_checkpointing="layer").key == plain
    assert workshop.stage(activation_checkpointing="selective").key == plain
    assert workshop.stage(capacity_factor=1.0).key != plain
    assert workshop.stage(balance_bias_rate=0.001).key != plain


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.capacity_factor=-1.0", "train.capacity_factor"),
        ("train.balance_bias_rate=-0.001", "train.balance_bias_rate"),
        ("train.balance_bias_rate=2.0", "train.balance_bias_rate"),
        ('train.activation_checkpointing="full"', "train.activation_checkpointing"),
    ],
)
def test_bad_values_are_refused_by_their_field(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(QUICKSTART, [override])
