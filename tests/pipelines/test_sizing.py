"""The output of `arctic size` about a run."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from arctic_errors import UserError
from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.presets import PRESETS
from arctic_model.sizing.step_time import GPUS
from data_recipes import RecipeError, RunRecipe, load_recipe
from pipelines.cli.terminal.tables.size import print_rooflines, print_size
from pipelines.fit.configs import model_config
from pipelines.recipes import load_recipe as load_run_recipe
from pipelines.sizing import SizeOptions, estimate, rooflines

RECIPES = Path(__file__).parents[2] / "data_recipes"
ARCTIC = RECIPES / "runs" / "arctic_480b.toml"


HELD = (
    "moments",
    "copy that a checkpoint is written from",
)


def printed(recipe: Path, options: SizeOptions, *overrides: str) -> str:
    out = io.StringIO()
    print_size(estimate(recipe, options, overrides), Console(file=out, width=100))
    return out.getvalue()


def row(text: str, name: str) -> list[str]:
    """The cells of the row `name`."""
    return next(line.removeprefix(name).split("  ") for line in text.splitlines() if line.startswith(name + "  "))


RUNS = sorted((RECIPES / "runs").glob("*.toml"))


def built_parameters(config: ArcticConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in ArcticModel(config).parameters())


@pytest.mark.parametrize("recipe", RUNS, ids=lambda path: path.stem)
@pytest.mark.parametrize("overrides", [(), ("tokenizer.vocab_size=50_000",), ('model.preset="tiny"',)], ids=str)
def test_the_size_is_that_of_the_model_which_the_run_builds(recipe: Path, overrides: tuple[str, ...]) -> None:
    alone = ("train.num_workers=1", "train.expert_parallel_size=1", "evaluate.expert_parallel_size=1")
    shared = ("phases.4.train.context_parallel_size=1",) if recipe.stem == "arctic_480b_32k" else ()
    fits_tiny = (*alone, *shared, "model.overrides.max_positions=4096")
    more = fits_tiny if "tiny" in str(overrides) else ()
    run = load_recipe(recipe, (*overrides, *more))
    assert isinstance(run, RunRecipe)
    count = built_parameters(model_config(run))
    assert f": {count:,} parameters," in printed(recipe, SizeOptions(), *overrides, *more)


def test_the_train_stage_of_the_quickstart_has_the_model_that_is_sized() -> None:
    stages = load_run_recipe(RECIPES / "runs" / "quickstart.toml", ["tokenizer.vocab_size=3_000"]).graph().stages
    config = ArcticConfig.from_dict(stages["train[1]"].params["model"])
    text = printed(RECIPES / "runs" / "quickstart.toml", SizeOptions(), "tokenizer.vocab_size=3_000")
    assert f": {built_parameters(config):,} parameters," in text


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_sized_by_name_on_the_fewest_gpus_that_hold_it(name: str) -> None:
    text = printed(Path(name), SizeOptions())
    assert text.startswith(f"{name}: {built_parameters(PRESETS[name]):,} parameters,")
    assert "Fits: " in text
    gpus = int(text.splitlines()[1].split(" x ")[0].replace(",", ""))
    if gpus > 1:
        assert "DOES NOT FIT" in printed(Path(name), SizeOptions(num_gpus=gpus // 2))


@pytest.mark.parametrize("recipe", RUNS, ids=lambda path: path.stem)
def test_a_recipe_fits_as_it_is_in_training_and_in_evaluation(recipe: Path) -> None:
    phases = [name for part in estimate(recipe).parts for name in part.phases]
    for options in (SizeOptions(gpu="h100", phase=phase) for phase in phases):
        text = printed(recipe, options)
        assert "\nFits: " in text
        assert "DOES NOT FIT" not in text


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("sequences", [1, 2, 4])
def test_a_verdict_leaves_room_for_context_nccl_and_fragmentation(gpu: str, sequences: int) -> None:
    options = SizeOptions(gpu=gpu, num_gpus=1024, expert_parallel_size=64, micro_batch_sequences=sequences)
    text = printed(ARCTIC, options)
    parts = [float(row(text, f"reserve: {part}")[-1].split()[0]) for part in ("cuda context", "nccl buffers")]
    tensors = float(row(text, "most at one moment, states with it")[-1].split()[0])
    fragmentation = float(row(text, "reserve: fragmentation")[-1].split()[0])
    assert (parts, fragmentation) == ([1.0, 4.8], pytest.approx(0.04 * tensors, abs=0.01))
    margin = GPUS[gpu].memory_bytes / 1e9 - tensors - sum(parts) - fragmentation
    assert float(row(text, "margin left")[-1].split()[0]) == pytest.approx(margin, abs=0.02)
    assert ("\nFits: " in text) == (margin > 0)


def test_one_gpu_needs_no_room_for_nccl() -> None:
    assert (
        row(printed(Path("arctic-1.4b-a150m"), SizeOptions(num_gpus=1)), "reserve: nccl buffers")[-1].strip()
        == "0.00 MB"
    )


def test_arctic_on_a_thousand_h100() -> None:
    text = printed(ARCTIC, SizeOptions(num_gpus=1024, expert_parallel_size=64, micro_batch_sequences=1))
    assert "478,584,608,768 parameters, 17,318,647,808 active" in text
    assert "1,024 x h100, expert-parallel over 64, ZeRO-2, bfloat16" in text
    assert "16,777,216 tokens = 1,024 GPUs x 4 passes x 1 sequences x 4,096" in text
    assert row(text, "states, through the whole step")[-1].strip() == "42.12 GB"
    assert row(text, "exchanges hidden")[-1].strip() == "100.0%"
    assert "\x1b" not in text


def test_muon_halves_the_moments_and_the_checkpoints_copy_shrinks_with_them() -> None:
    text = {name: printed(ARCTIC, SizeOptions(), f'train.optimizer="{name}"') for name in ("adamw", "muon")}
    cells = {name: [row(said, part)[-1].strip() for part in HELD] for name, said in text.items()}
    assert cells["adamw"] == ["3.74 GB", "5.61 GB"]
    assert cells["muon"] == ["1.87 GB", "3.74 GB"]


@pytest.mark.parametrize(
    ("gpu", "size", "verdict"),
    [
        ("h100", 64, "Evaluation fits: 72.81 GB of 80.00 GB."),
        ("h100", 32, "EVALUATION DOES NOT FIT: 87.45 GB of 80.00 GB. Set evaluate.expert_parallel_size = 64."),
        ("h200", 8, "EVALUATION DOES NOT FIT: 175.31 GB of 141.00 GB. Set evaluate.expert_parallel_size = 16."),
        ("l40s", 64, "EVALUATION DOES NOT FIT: 72.81 GB of 48.00 GB, nor with more GPUs: each repeats the dense part."),
    ],
)
def test_evaluation_takes_as_many_gpus_as_hold_the_experts(gpu: str, size: int, verdict: str) -> None:
    text = printed(ARCTIC, SizeOptions(gpu=gpu), f"evaluate.expert_parallel_size={size}")
    assert verdict in text
    assert row(text, "dense weights")[-1].strip() == "19.99 GB"


def test_what_does_not_fit_says_what_to_lower() -> None:
    options = SizeOptions(num_gpus=1024, expert_parallel_size=64, micro_batch_sequences=4)
    everything = 'train.activation_checkpointing="none"'
    assert "DOES NOT FIT" in printed(ARCTIC, options)
    assert "Lower --micro-batch or raise --ep. With selective checkpointing:" in printed(ARCTIC, options, everything)
    one = SizeOptions(num_gpus=512, expert_parallel_size=64, micro_batch_sequences=1)
    assert "Raise --ep or --gpus. With selective checkpointing:" in printed(ARCTIC, one, everything)
    few = SizeOptions(num_gpus=512, expert_parallel_size=16, micro_batch_sequences=1)
    assert "The states alone are too large: raise --ep or --gpus" in printed(ARCTIC, few)
    checkpointed = SizeOptions(
        num_gpus=1024, expert_parallel_size=64, micro_batch_sequences=4, checkpoint_layers=True, gpu="h200"
    )
    assert "Fits: " in printed(ARCTIC, checkpointed)


def test_the_recipe_says_whether_layers_are_checkpointed() -> None:
    options = SizeOptions(num_gpus=1024, expert_parallel_size=64, micro_batch_sequences=4)
    by_recipe = printed(ARCTIC, options, 'train.activation_checkpointing="layer"')
    assert "ZeRO-2, bfloat16, adamw, layer checkpointing" in by_recipe
    assert by_recipe == printed(ARCTIC, replace(options, checkpoint_layers=True)) != printed(ARCTIC, options)


def test_any_preset_can_be_sized_by_replacing_fields() -> None:
    smaller = ('model.preset="arctic-3.6b-a1b"', "evaluate.expert_parallel_size=1")
    text = printed(ARCTIC, SizeOptions(num_gpus=8, expert_parallel_size=8), *smaller)
    assert "arctic-3.6b-a1b: 3,597,638,912 parameters, 996,515,072 active" in text


def test_the_price_is_that_of_the_order() -> None:
    deviation = {"num_gpus": 1024, "expert_parallel_size": 64}
    hours = int(row(printed(ARCTIC, SizeOptions(**deviation)), "GPU-hours")[-1].replace(",", ""))
    cost = row(printed(ARCTIC, SizeOptions(**deviation, price_per_hour=1.0)), "cost at $1.00 an hour")[-1]
    assert int(cost.strip().replace(",", "").replace("$", "")) == hours


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (ARCTIC, SizeOptions(num_gpus=1000), "global_batch_sequences = 4096 is not a multiple of .* 1 x 1000"),
        (
            ARCTIC,
            SizeOptions(expert_parallel_size=3),
            "expert_parallel_size = 3 does not divide train.num_workers = 1024",
        ),
        (
            ARCTIC,
            SizeOptions(expert_parallel_size=256),
            "480b.toml: .* = 256 does not divide model.overrides.num_experts = 128",
        ),
        (ARCTIC, SizeOptions(gpu="h300"), "--gpu 'h300': no such GPU. There are a100, h100, h200, b200"),
        (ARCTIC, SizeOptions(mfu=40.0), "mfu = 40: a share of the peak"),
        (Path("arctic-490b"), SizeOptions(), "no such recipe or preset. The presets are tiny, quickstart, "),
        (Path("arctic-480b"), SizeOptions(num_gpus=12, expert_parallel_size=5), "= 5 does not divide num_workers = 12"),
        (RECIPES / "corpora" / "web.toml", SizeOptions(), "a corpus recipe has no model to size"),
    ],
)
def test_what_cannot_be_is_refused(recipe: Path, options: SizeOptions, message: str) -> None:
    with pytest.raises(UserError, match=message):
        printed(recipe, options)


def test_a_preset_has_no_fields_to_set() -> None:
    with pytest.raises(RecipeError, match="arctic-480b is a preset, not a recipe"):
        printed(Path("arctic-480b"), SizeOptions(), "train.num_workers=8")


def test_sizing_imports_neither_torch_nor_ray_nor_mlflow() -> None:
    heavy = {"torch", "ray", "mlflow"}
    code = (
        f"import sys, pipelines.sizing, pipelines.cli.terminal.tables.size; sys.exit(bool({heavy} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_roofline_of_every_gpu_at_the_sequence_length_of_the_run() -> None:
    size = estimate("arctic-1.4b-a150m", SizeOptions(gpu="h200", micro_batch_sequences=2))
    result = rooflines(size)
    assert result.keys() == GPUS.keys()
    assert all(each.tokens == 2 * 4096 and 0 < each.mfu < 1 for each in result.values())
    # The same peak, and memory that is 1.43 times as fast.
    assert 1 < result["h200"].mfu / result["h100"].mfu < 1.43
    out = io.StringIO()
    print_rooflines(result, "h200", Console(file=out, width=100))
    assert f"h200 {result['h200'].mfu:.1%}" in " ".join(out.getvalue().split())


def test_the_phase_that_needs_the_most_memory_is_sized_and_the_bill_is_that_of_all() -> None:
    recipe = RECIPES / "runs" / "quickstart.toml"
    other = "train.activation_checkpointing='layer'"
    plain, whole = estimate(recipe), estimate(recipe, None, [other])
    mixed = estimate(recipe, None, [f"phases.{number}.{other}" for number in (1, 3)])
    assert mixed.sizing.name == "quickstart, phase code"
    assert mixed.memory == plain.memory
    assert whole.memory.total < plain.memory.total
    tokens = [98_304, 98_304, 262_144]
    assert mixed.sizing.tokens == tokens[1]
    assert plain.bill
    assert whole.bill
    assert mixed.bill
    hours = plain.bill.gpu_hours * tokens[1] + whole.bill.gpu_hours * (tokens[0] + tokens[2])
    assert mixed.bill.gpu_hours == pytest.approx(hours / sum(tokens))


def test_every_part_of_a_run_is_listed_and_any_of_them_sized() -> None:
    """The long phase shares each sequence between eight GPUs, and needs less than those before it."""
    recipe = RECIPES / "runs" / "arctic_480b_32k.toml"
    text, of_long = printed(recipe, SizeOptions()), printed(recipe, SizeOptions(phase="long"))
    most, long = (estimate(recipe, SizeOptions(phase=phase)) for phase in ("", "long"))
    assert [part.phases for part in most.parts] == [("general", "code", "enterprise"), ("long",)]
    assert [part.sequence_length for part in most.parts] == [4096, 32_768]
    assert most.parts == long.parts and most.bill == long.bill
    assert f"the run: {sum(part.tokens for part in most.parts):,} tokens" in text
    for part, size in zip(most.parts, (most, long), strict=True):
        assert part.memory_bytes == size.memory.total + size.memory.reserve.total
        assert row(text, ", ".join(part.phases))[-1].strip() == f"{part.bill.days:,.1f}"
    assert most.traffic.keys_forward == 0 < long.traffic.keys_forward
    assert "context-parallel over 8" in of_long and of_long.startswith("arctic-480b, phase long: ")
    with pytest.raises(UserError, match="--phase 'lonk': the recipe has no such phase. Did you mean long"):
        estimate(recipe, SizeOptions(phase="lonk"))
    assert len(estimate(Path("arctic-480b")).parts) == 0


def test_an_amendment_that_changes_no_size_changes_no_estimate() -> None:
    recipe = RECIPES / "runs" / "quickstart.toml"
    assert estimate(recipe, None, ["amendments=[{from_step=200, train.peak_lr=0.001}]"]) == estimate(recipe)


def test_a_fine_tune_of_a_recipe_or_of_a_preset_is_sized_by_name() -> None:
    adapters = "finetune.1.lora={rank=8}"
    quickstart = RECIPES / "runs" / "quickstart.toml"
    text = printed(quickstart, SizeOptions(finetune="instruct"), adapters)
    assert text.startswith("quickstart, fine-tune instruct: ")
    full = estimate(quickstart, SizeOptions(finetune="instruct"))
    assert full.memory == estimate(quickstart).memory
    lora = estimate(quickstart, SizeOptions(finetune="instruct"), [adapters])
    assert lora.memory.states.moments < full.memory.states.moments / 4
    assert full.bill
    assert full.sizing.tokens == 262_144
    eight = SizeOptions(gpu="h200", num_gpus=8, finetune="lora-fp8", checkpoint_layers=True)
    assert "Fits: " in printed(Path("arctic-480b"), eight)
    assert "DOES NOT FIT" in printed(Path("arctic-480b"), replace(eight, finetune="lora"))


@pytest.mark.parametrize(
    ("target", "name", "message"),
    [
        (RECIPES / "runs" / "quickstart.toml", "instruckt", "--finetune 'instruckt': .* Did you mean instruct"),
        (ARCTIC, "instruct", "--finetune 'instruct': the recipe has no such fine-tune. There are none."),
        (Path("arctic-480b"), "qlora", "--finetune 'qlora': of a preset, one of full, lora and lora-fp8"),
    ],
)
def test_a_fine_tune_that_is_not_there_is_refused(target: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        estimate(target, SizeOptions(finetune=name))
