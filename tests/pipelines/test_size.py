"""What `arctic size` says about a run."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from data_recipes import RecipeError
from pipelines.size import Order, print_size

RECIPES = Path(__file__).parents[2] / "data_recipes"
ARCTIC = RECIPES / "runs" / "arctic_480b.toml"


HELD = (
    "moments",
    "weights in float32 while the model is made",
    "copy that a checkpoint is written from",
)


def printed(recipe: Path, order: Order, *overrides: str) -> str:
    out = io.StringIO()
    print_size(recipe, overrides, order, Console(file=out, width=100))
    return out.getvalue()


def row(text: str, name: str) -> list[str]:
    """The cells of the row `name`."""
    return next(line.removeprefix(name).split("  ") for line in text.splitlines() if line.startswith(name + "  "))


def test_arctic_on_a_thousand_h100() -> None:
    text = printed(ARCTIC, Order(num_gpus=1024, expert_parallel_size=64, micro_batch_sequences=1))
    assert "478,584,608,768 parameters, 17,318,647,808 active" in text
    assert "1,024 x h100, expert-parallel over 64, ZeRO-2, bfloat16" in text
    assert "16,777,216 tokens = 1,024 GPUs x 4 passes x 1 sequences x 4,096" in text
    assert row(text, "states, through the whole step")[-1].strip() == "41.18 GB"
    assert row(text, "exchanges hidden")[-1].strip() == "100.0%"
    assert "\x1b" not in text


def test_muon_halves_the_moments_and_the_checkpoints_copy_shrinks_with_them() -> None:
    text = {name: printed(ARCTIC, Order(), f'train.optimizer="{name}"') for name in ("adamw", "muon")}
    cells = {name: [row(said, part)[-1].strip() for part in HELD] for name, said in text.items()}
    assert cells["adamw"] == ["3.74 GB", "54.63 GB", "5.61 GB"]
    assert cells["muon"] == ["1.87 GB", "54.63 GB", "3.74 GB"]


def test_what_does_not_fit_says_what_to_lower() -> None:
    order = Order(num_gpus=1024, expert_parallel_size=64, micro_batch_sequences=4)
    assert "DOES NOT FIT" in printed(ARCTIC, order)
    assert "Lower --micro-batch or raise --ep. With selective checkpointing:" in printed(ARCTIC, order)
    one = Order(num_gpus=512, expert_parallel_size=64, micro_batch_sequences=1)
    assert "Raise --ep or --gpus. With selective checkpointing:" in printed(ARCTIC, one)
    few = Order(num_gpus=512, expert_parallel_size=16, micro_batch_sequences=1)
    assert "The states alone are too large: raise --ep or --gpus" in printed(ARCTIC, few)
    checkpointed = Order(
        num_gpus=1024, expert_parallel_size=64, micro_batch_sequences=4, checkpoint_layers=True, gpu="h200"
    )
    assert "Fits: " in printed(ARCTIC, checkpointed)


def test_the_recipe_says_whether_layers_are_checkpointed() -> None:
    order = Order(num_gpus=1024, expert_parallel_size=64, micro_batch_sequences=4)
    by_recipe = printed(ARCTIC, order, 'train.activation_checkpointing="layer"')
    assert "ZeRO-2, bfloat16, adamw, layer checkpointing" in by_recipe
    assert by_recipe == printed(ARCTIC, replace(order, checkpoint_layers=True)) != printed(ARCTIC, order)


def test_any_preset_can_be_sized_by_replacing_fields() -> None:
    text = printed(ARCTIC, Order(num_gpus=8, expert_parallel_size=8), 'model.preset="arctic-3.6b-a1b"')
    assert "arctic-3.6b-a1b: 3,597,638,912 parameters, 996,515,072 active" in text


def test_the_price_is_that_of_the_order() -> None:
    spread = {"num_gpus": 1024, "expert_parallel_size": 64}
    hours = int(row(printed(ARCTIC, Order(**spread)), "GPU-hours")[-1].replace(",", ""))
    cost = row(printed(ARCTIC, Order(**spread, price_per_hour=1.0)), "cost at $1.00 an hour")[-1]
    assert int(cost.strip().replace(",", "").replace("$", "")) == hours


@pytest.mark.parametrize(
    ("recipe", "order", "message"),
    [
        (ARCTIC, Order(num_gpus=1000), "global_batch_sequences 4096 is not a multiple of .* 1 x 1000"),
        (ARCTIC, Order(expert_parallel_size=3), "expert_parallel_size 3 does not divide num_workers 1024"),
        (ARCTIC, Order(expert_parallel_size=256), "arctic_480b.toml: .* 256 does not divide num_experts 128"),
        (ARCTIC, Order(gpu="h300"), "--gpu 'h300': no such GPU. There are a100, h100, h200, b200"),
        (ARCTIC, Order(mfu=40.0), "mfu = 40: a share of the peak"),
        (RECIPES / "corpora" / "web.toml", Order(), "a corpus recipe has no model to size"),
    ],
)
def test_what_cannot_be_is_refused(recipe: Path, order: Order, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        printed(recipe, order)


def test_sizing_imports_neither_torch_nor_ray_nor_mlflow() -> None:
    code = "import sys, pipelines.size; sys.exit(bool({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
