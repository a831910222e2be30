"""Rotary positions: the frequencies are those of transformers, the angles stay exact at any position."""

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arctic_model.layers.rotary import frequencies, rotate, rotation
from arctic_model.presets import preset
from arctic_model.rope import Rope

CPU = torch.device("cpu")
YARN = Rope(64, 1e4, 8.0, 256)


def theirs(rope: Rope) -> tuple[torch.Tensor, float]:
    """Frequencies and attention factor of transformers, for the same numbers in its words."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = {
        "rope_type": "yarn",
        "rope_theta": rope.theta,
        "factor": rope.factor,
        "original_max_position_embeddings": rope.original_positions,
        "beta_fast": rope.beta_fast,
        "beta_slow": rope.beta_slow,
    }
    if rope.attention_factor is not None:
        parameters["attention_factor"] = rope.attention_factor
    config = LlamaConfig(head_dim=rope.head_dim, max_position_embeddings=4096, rope_parameters=parameters)
    return ROPE_INIT_FUNCTIONS["yarn"](config, CPU)


@settings(max_examples=60, deadline=None)
@given(
    head_dim=st.sampled_from([8, 16, 64, 128]),
    theta=st.floats(500.0, 5e6),
    factor=st.floats(1.01, 64.0),
    original=st.integers(64, 32_768),
    beta_slow=st.floats(0.5, 4.0),
    beta_ratio=st.floats(1.5, 40.0),
    attention_factor=st.none() | st.floats(0.5, 2.0),
)
def test_yarn_is_that_of_transformers(
    head_dim: int,
    theta: float,
    factor: float,
    original: int,
    beta_slow: float,
    beta_ratio: float,
    attention_factor: float | None,
) -> None:
    rope = Rope(head_dim, theta, factor, original, beta_slow * beta_ratio, beta_slow, attention_factor)
    expected, scale = theirs(rope)
    torch.testing.assert_close(frequencies(rope, CPU), expected.double(), rtol=1e-5, atol=0)
    assert rope.scale == pytest.approx(scale, rel=1e-12)


def test_without_a_factor_the_frequencies_are_those_of_the_paper() -> None:
    expected = torch.tensor([10_000.0 ** (-2 * i / 16) for i in range(8)], dtype=torch.float64)
    torch.testing.assert_close(frequencies(preset("tiny", {"head_size": 16}).rope, CPU), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("position", [0, 1, 1000, 10**6, 10**8])
@pytest.mark.parametrize("rope", [Rope(16, 1e4), YARN], ids=["plain", "yarn"])
def test_angles_are_exact_far_beyond_float32(position: int, rope: Rope) -> None:
    cos, sin = (part.flatten() for part in rotation(torch.tensor([[position]]), rope, torch.float64))
    with mpmath.workdps(50):
        angles = [position * mpmath.mpf(float(each)) for each in frequencies(rope, CPU)]
        expected = [[float(function(angle)) * rope.scale for angle in angles] for function in (mpmath.cos, mpmath.sin)]
    limit = max(position, 1) * 2e-16
    torch.testing.assert_close(torch.stack([cos, sin]), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=limit)


def test_scores_depend_on_the_distance_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64, generator=generator)
    rope = Rope(16, 1e4)

    def score(at: int) -> float:
        turned = [rotate(x, rotation(torch.tensor([[p]]), rope, x.dtype)) for x, p in ((query, at + 9), (key, at))]
        return float((turned[0] * turned[1]).sum())

    assert score(10**6) == pytest.approx(score(0), abs=1e-9)
