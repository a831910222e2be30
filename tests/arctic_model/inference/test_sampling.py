"""Draws against the model's own frequencies, and the filters against those of transformers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arctic_model.inference.sampling import GenerationError, Sampling, choose, probabilities

LOGITS = torch.tensor([0.0, 2.0, 1.0, -1.0])


def test_draws_have_the_model_s_frequencies() -> None:
    drawn = [choose(LOGITS, Sampling(0.5, seed=str(number)), 0) for number in range(4000)]
    frequencies = torch.bincount(torch.tensor(drawn), minlength=4) / 4000
    expected = (LOGITS / 0.5).softmax(-1)
    assert (frequencies - expected).abs().max() < 3 * (expected * (1 - expected) / 4000).sqrt().max()


def test_a_draw_follows_from_seed_and_number_alone() -> None:
    sampling = Sampling(1.0, seed="a")
    draws = [choose(LOGITS, sampling, number) for number in range(40)]
    assert draws == [choose(LOGITS, sampling, number) for number in range(40)]
    assert draws != [choose(LOGITS, Sampling(1.0, seed="b"), number) for number in range(40)]
    assert len(set(draws)) > 1


@given(
    st.lists(st.integers(-80, 80), min_size=2, max_size=30, unique=True),
    st.sampled_from([0.3, 1.0, 2.5]),
    st.sampled_from([0, 1, 2, 7, 99]),
    st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    st.sampled_from([0.0, 0.02, 0.4, 1.0]),
)
def test_filters_keep_what_those_of_transformers_keep(
    tenths: list[int], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    from transformers.generation import logits_process

    logits = torch.tensor(tenths, dtype=torch.float64) / 10
    warpers = [logits_process.TemperatureLogitsWarper(temperature)]
    warpers += [logits_process.TopKLogitsWarper(top_k)] if top_k else []
    warpers += [logits_process.TopPLogitsWarper(top_p)] if top_p < 1 else []
    warpers += [logits_process.MinPLogitsWarper(min_p)] if min_p else []
    scores = logits[None]
    for warper in warpers:
        scores = warper(torch.zeros(1, 1, dtype=torch.long), scores)
    result = probabilities(logits, Sampling(temperature, top_p, top_k, min_p))
    torch.testing.assert_close(result, scores[0].softmax(-1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.5),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_k", -1),
        ("min_p", 1.1),
        ("min_p", float("nan")),
    ],
)
def test_a_number_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(GenerationError, match=f"{field} = "):
        Sampling(**{field: value})


def test_logits_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(GenerationError, match="diverged"):
        choose(torch.tensor([0.0, torch.nan]), Sampling(), 0)
