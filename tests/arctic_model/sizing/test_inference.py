"""Decoding on GPUs by formula: against published figures of Arctic and Mixtral, and numbers worked out by hand."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from arctic_model.config import ArcticConfig, ConfigError
from arctic_model.presets import preset
from arctic_model.sizing.inference import Inference
from arctic_model.sizing.step_time import GPUS

ARCTIC = preset("arctic-480b")
MIXTRAL = ArcticConfig(
    vocab_size=32000,
    hidden_size=4096,
    num_layers=32,
    num_heads=32,
    num_kv_heads=8,
    num_experts=8,
    top_k=2,
    expert_size=14336,
    max_positions=4096,
    layer_shape="moe",
)


def node(dtype: str = "fp8", gpu: str = "h100", context: int = 4096) -> Inference:
    return Inference(ARCTIC, GPUS[gpu], 8, dtype, context)


def test_arctic_fits_in_a_node_in_fp8_and_in_no_node_of_h100_in_bfloat16() -> None:
    """Snowflake Arctic's README: "a single 8xH100 instance" in FP8."""
    assert node().weight_bytes == pytest.approx(479.2e9, rel=0.002)
    assert node().max_sequences >= 1
    assert node("bfloat16").weight_bytes == 2 * 478_584_608_768 and node("bfloat16").max_sequences == 0
    assert node("bfloat16", "h200").max_sequences >= 1


def test_arctics_cache_takes_143360_bytes_a_token() -> None:
    assert node().cache_bytes_per_token == 143_360
    assert Inference(replace(ARCTIC, num_kv_heads=4), GPUS["h100"], 8, "fp8", 16).cache_bytes_per_token == 143_360


def test_arctics_published_speed_lies_below_the_estimate_as_an_engine_without_graphs_does() -> None:
    """70+ tokens/s at batch 1 (README of Snowflake-Labs/snowflake-arctic): 4.5 % of the bandwidth of 8 H100s."""
    one = node(context=1)
    assert one.step_bytes(1) == pytest.approx(17.3e9, rel=0.02)
    assert 70 / one.ceiling(1) == pytest.approx(0.045, abs=0.001)
    assert 70 < 1 / one.step_s(1) < one.ceiling(1)


@pytest.mark.parametrize(
    ("num_gpus", "dtype", "published"), [(1, "fp8", 97.9), (8, "bfloat16", 227.8), (8, "fp8", 279.4)]
)
def test_mixtral_decodes_as_fast_as_gpt_fast_publishes(num_gpus: int, dtype: str, published: float) -> None:
    """gpt-fast's README, Mixtral 8x7B on A100s; int8 takes as many bytes as FP8."""
    size = Inference(MIXTRAL, GPUS["a100"], num_gpus, dtype, 128)
    assert 1 / size.step_s(1) == pytest.approx(published, rel=0.1)


def test_a_batch_reads_the_experts_that_its_tokens_choose() -> None:
    """Of 128 experts 16 tokens choose 28.5 on average and 64 tokens 81.3, two each."""
    expert = 35 * 3 * 7168 * 4864 * (1 + 4 / 128**2)
    cache = 143_360
    one = node(context=1)
    for batch, experts in ((16, 28.5), (64, 81.3)):
        read = one.step_bytes(batch) - one.step_bytes(1) - (batch - 1) * cache
        assert read / expert == pytest.approx(experts - 2, abs=0.1)


def test_a_large_batch_takes_the_time_of_its_arithmetic() -> None:
    size = Inference(ARCTIC, GPUS["h100"], 8, "fp8", 1)
    many = 100_000
    assert many / size.step_s(many) == pytest.approx(size.prompt_tokens_per_s(), rel=0.02)


@pytest.mark.parametrize(("num_gpus", "context"), [(3, 16), (16, 16), (0, 16), (8, 0), (8, 4097)])
def test_what_no_engine_can_run_is_refused(num_gpus: int, context: int) -> None:
    with pytest.raises(ConfigError):
        Inference(ARCTIC, GPUS["h100"], num_gpus, "fp8", context)


def test_the_page_shows_these_estimates() -> None:
    """Each row of the page's table: the model, its GPUs and weights, the published and the estimated tokens/s."""
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "sizing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+).*? \| (\d) (\w+) \| (\w+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(rows) == 4
    for model, num_gpus, gpu, dtype, _, shown in rows:
        config = {"Mixtral": MIXTRAL, "Arctic": ARCTIC}[model]
        assert f"{1 / Inference(config, GPUS[gpu], int(num_gpus), dtype, 128).step_s(1):.1f}" == shown
