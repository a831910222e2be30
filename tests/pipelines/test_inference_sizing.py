"""`arctic size --inference`: the choice of the model, refused options, and the output."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_recipes import RecipeError
from pipelines.cli import app
from pipelines.errors import OptionError
from pipelines.inference_sizing import InferenceOptions, estimate_inference

QUICKSTART = Path(__file__).parents[2] / "data_recipes" / "runs" / "quickstart.toml"


def test_the_model_of_a_recipe_with_replaced_fields_is_sized() -> None:
    small, large = (
        estimate_inference(QUICKSTART, InferenceOptions(), set_) for set_ in ((), ("model.overrides.num_layers=8",))
    )
    assert large.inference.config.num_layers == 8
    assert large.inference.weight_bytes > small.inference.weight_bytes


def test_the_price_of_a_million_tokens_is_that_of_the_gpu_seconds() -> None:
    size = estimate_inference("arctic-480b", InferenceOptions(num_gpus=8, weights="fp8", price_per_hour=2.0))
    tokens_per_hour = 32 / size.inference.step_s(32) * 3600
    assert size.price_per_million(32) == pytest.approx(8 * 2.0 / tokens_per_hour * 1e6)


@pytest.mark.parametrize(
    ("target", "options", "overrides", "message"),
    [
        ("arctic-480b", InferenceOptions(gpu="tpu"), (), "no such GPU"),
        ("arctic-480b", InferenceOptions(mfu=0), (), "--mfu 0"),
        ("arctic-480b", InferenceOptions(num_gpus=16), (), "num_gpus = 16: must divide num_heads = 56"),
        ("arctic-480b", InferenceOptions(context=5000), (), "context = 5000"),
        ("arctic-480b", InferenceOptions(), ("model.top_k=1",), "is a preset"),
        ("arctic-481b", InferenceOptions(), (), "no such recipe or preset"),
    ],
)
def test_what_cannot_be_is_refused(
    target: str, options: InferenceOptions, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises((OptionError, RecipeError), match=message):
        estimate_inference(target, options, overrides)


def test_the_command_prints_whether_it_fits() -> None:
    result = CliRunner().invoke(app, ["size", "arctic-480b", "--inference", "--gpus", "8", "--weights", "fp8"])
    assert result.exit_code == 0
    assert "143,360 bytes" in result.output and "Fits: 164 sequences" in result.output
    result = CliRunner().invoke(app, ["size", "arctic-480b", "--inference", "--gpus", "8"])
    assert "DOES NOT FIT" in result.output and "--weights fp8" in result.output


@pytest.mark.parametrize("wrong", [["--inference", "--ep", "2"], ["--weights", "fp8"], ["--context", "64"]])
def test_an_option_of_the_other_estimate_is_refused(wrong: list[str]) -> None:
    result = CliRunner().invoke(app, ["size", "arctic-480b", *wrong])
    assert result.exit_code and isinstance(result.exception, OptionError | SystemExit)
