"""Generation against full passes over the whole sequence, without caches."""

import pytest
import torch

from arctic_model.inference.generate import generate
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

PROMPT = [5, 17, 200, 3]


@pytest.fixture(scope="module")
def model() -> ArcticModel:
    return ArcticModel(preset("tiny", {"init_std": 0.3}), seed=0).eval()


def last_logits(model: ArcticModel, ids: list[int]) -> torch.Tensor:
    """By a pass over everything so far."""
    with torch.inference_mode():
        return model(torch.tensor([ids]))[0, -1].float()


def greedy(model: ArcticModel, count: int) -> list[int]:
    ids = list(PROMPT)
    for _ in range(count):
        ids.append(int(last_logits(model, ids).argmax()))
    return ids[len(PROMPT) :]


def test_greedy_tokens_are_the_likeliest_of_full_passes(model: ArcticModel) -> None:
    expected = greedy(model, 40)
    assert generate(model, PROMPT, 40) == expected
    assert len(set(expected)) > 10


def test_one_token_needs_no_second_pass(model: ArcticModel) -> None:
    assert generate(model, PROMPT, 1) == greedy(model, 1)
    assert generate(model, PROMPT, 0) == []


def test_a_stop_token_ends_the_text_and_is_its_last(model: ArcticModel) -> None:
    expected = greedy(model, 40)
    stop = expected[7]
    assert generate(model, PROMPT, 40, stop={stop}) == expected[: expected.index(stop) + 1]


def test_sampled_tokens_are_distributed_as_the_softmax_of_full_passes(model: ArcticModel) -> None:
    """The first of 4,000 samples: every probability within 5 standard errors."""
    temperature, repeats = 0.7, 4000
    probabilities = (last_logits(model, PROMPT) / temperature).softmax(-1)
    counts = torch.zeros_like(probabilities)
    torch.manual_seed(1)
    for _ in range(repeats):
        counts[generate(model, PROMPT, 1, temperature=temperature)] += 1
    errors = (counts / repeats - probabilities).abs()
    assert bool((errors <= 5 * (probabilities * (1 - probabilities) / repeats).sqrt() + 1e-3).all())


def test_equal_seeds_give_equal_text(model: ArcticModel) -> None:
    texts = [generate(model, PROMPT, 30, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_low_temperature_is_greedy(model: ArcticModel) -> None:
    assert generate(model, PROMPT, 20, temperature=1e-4, seed=0) == greedy(model, 20)


def test_the_text_may_fill_all_positions_and_no_more(model: ArcticModel) -> None:
    room = model.config.max_positions - len(PROMPT)
    assert len(generate(model, PROMPT, room)) == room
    with pytest.raises(ValueError, match=r"max_new_tokens = 125 exceed model\.max_positions = 128"):
        generate(model, PROMPT, room + 1)


def test_impossible_requests_are_refused(model: ArcticModel) -> None:
    with pytest.raises(ValueError, match="holds no token"):
        generate(model, [], 3)
    with pytest.raises(ValueError, match="temperature = -1"):
        generate(model, PROMPT, 3, temperature=-1.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_other_dtypes_generate_too(model: ArcticModel, dtype: torch.dtype) -> None:
    narrow = ArcticModel(model.config, seed=0).to(dtype)
    assert len(generate(narrow, PROMPT, 10)) == 10
