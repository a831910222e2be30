"""`ArcticModel.generate` against full passes over the whole sequence, without caches."""

import pytest
import torch

from arctic_model import ArcticModel, GenerationError, Sampling, preset

PROMPTS = [[5, 17, 200, 3], [9], [1, 2, 3, 4, 5, 6]]


@pytest.fixture(scope="module")
def model() -> ArcticModel:
    return ArcticModel(preset("tiny", {"init_std": 0.3}), seed=0).eval()


def greedy(model: ArcticModel, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        with torch.inference_mode():
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_ids_are_the_likeliest_of_full_passes(model: ArcticModel) -> None:
    expected = [greedy(model, prompt, 40) for prompt in PROMPTS]
    assert model.generate(PROMPTS, 40) == expected
    assert [model.generate([prompt], 40) for prompt in PROMPTS] == [[ids] for ids in expected]
    assert len(set(expected[0])) > 10


def test_nothing_asked_is_nothing_answered(model: ArcticModel) -> None:
    assert model.generate([], 5) == []
    assert model.generate(PROMPTS, 0) == [[], [], []]


def test_an_end_id_ends_one_continuation(model: ArcticModel) -> None:
    expected = greedy(model, PROMPTS[0], 40)
    end = expected[7]
    first, *others = model.generate(PROMPTS, 40, end_ids=[end])
    assert first == expected[: expected.index(end) + 1]
    assert len(others) == 2


def test_each_prompt_has_draws_of_its_own_that_follow_from_the_seed(model: ArcticModel) -> None:
    """The first of 200 continuations by the probabilities of a full pass: the likeliest id within 5 standard errors."""
    sampling = Sampling(0.7, seed="a")
    result = model.generate([PROMPTS[0]] * 200, 1, sampling)
    with torch.inference_mode():
        probabilities = (model(torch.tensor([PROMPTS[0]]))[0, -1] / 0.7).softmax(-1)
    likeliest = float(probabilities.max())
    share = result.count([int(probabilities.argmax())]) / 200
    assert abs(share - likeliest) < 5 * (likeliest * (1 - likeliest) / 200) ** 0.5
    assert result == model.generate([PROMPTS[0]] * 200, 1, sampling)


def test_the_text_may_fill_all_positions_and_no_more(model: ArcticModel) -> None:
    room = model.config.max_positions - len(PROMPTS[0])
    assert len(model.generate([PROMPTS[0]], room)[0]) == room
    with pytest.raises(GenerationError, match="max_new_tokens = 125 exceed the 128 positions"):
        model.generate([PROMPTS[0]], room + 1)


def test_other_dtypes_generate_too(model: ArcticModel) -> None:
    narrow = ArcticModel(model.config, seed=0).to(torch.bfloat16)
    assert [len(ids) for ids in narrow.generate(PROMPTS, 10)] == [10, 10, 10]
