"""Logits that are not finite end the answer whose row they are, and no other."""

from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arctic_model.inference.arctic_decoder import ArcticDecoder
from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.engine import Engine
from arctic_model.inference.sampling import GenerationError
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

POISON = 383
"""The id whose embedding is not finite: every pass over it diverges, and so do the keys and values behind it."""
BEGINNING = list(range(130))
SOUND = [Request(prompt, 12) for prompt in ([5, 6, 7], [*BEGINNING, 4], [300] * 40, [9], [*BEGINNING, 8, 2])]
FAILING = [
    Request([POISON], 9),
    Request([*BEGINNING, POISON, 3], 9),
    Request([8, POISON], 0, num_logprobs=0, scores_prompt=True),
]


@pytest.fixture(scope="module")
def sound() -> ArcticModel:
    return ArcticModel(preset("tiny", {"init_std": 0.3, "max_positions": 256}), seed=0).eval()


@pytest.fixture(scope="module")
def expected(sound: ArcticModel) -> list[list[int]]:
    """Each alone, by a model in which nothing diverges."""
    answers = [Engine(ArcticDecoder(sound)).run([request])[0].ids for request in SOUND]
    assert not any(POISON in ids for ids in answers)
    return answers


def poisoned(sound: ArcticModel, token: int = POISON) -> ArcticModel:
    model = deepcopy(sound)
    with torch.no_grad():
        model.model.embed_tokens.weight[token] = torch.nan
    return model


def require(completions: Sequence[Completion], expected: list[list[int]]) -> None:
    for number, completion in enumerate(completions):
        if number < len(SOUND):
            assert (completion.ids, completion.finish, completion.error) == (expected[number], "length", None)
        else:
            assert (completion.ids, completion.finish) == ([], "failed")
            assert "not finite" in str(completion.error)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_request_that_diverges_leaves_all_others_alone_whenever_it_comes(
    sound: ArcticModel, expected: list[list[int]], data: st.DataObject
) -> None:
    """In any order, any number of steps apart, and again in the slots that the failed ones had."""
    engine = Engine(ArcticDecoder(poisoned(sound)), max_batch=data.draw(st.integers(1, 5)))
    for _ in range(2):
        order = data.draw(st.permutations(range(len(SOUND) + len(FAILING))))
        running = {}
        for number in order:
            running[number] = engine.add([*SOUND, *FAILING][number])
            for _ in range(data.draw(st.integers(0, 5))):
                engine.step()
        while engine.step():
            pass
        assert engine.num_running == engine.num_waiting == 0
        require([running[number] for number in sorted(running)], expected)


@pytest.mark.parametrize("max_batch", [1, 5])
def test_an_answer_may_diverge_in_its_middle(sound: ArcticModel, expected: list[list[int]], max_batch: int) -> None:
    """At the first id that no other request has."""
    others = {number: {*SOUND[number].prompt, *ids} for number, ids in enumerate(expected)}
    number, place = next(
        (number, place)
        for number, ids in enumerate(expected)
        for place, token in enumerate(ids[:-1])
        if ids.index(token) == place and not any(token in each for other, each in others.items() if other != number)
        if token not in SOUND[number].prompt
    )
    engine = Engine(ArcticDecoder(poisoned(sound, expected[number][place])), max_batch=max_batch)
    completions = [engine.add(request) for request in SOUND]
    while engine.step():
        pass
    assert completions[number].finish == "failed"
    for other, completion in enumerate(completions):
        assert completion.ids == (expected[number][: place + 1] if other == number else expected[other])


@pytest.mark.parametrize("failing", FAILING, ids=["id", "beginning", "scored"])
def test_a_run_with_an_answer_that_diverges_is_an_error_and_leaves_the_engine_free(
    sound: ArcticModel, expected: list[list[int]], failing: Request
) -> None:
    engine = Engine(ArcticDecoder(poisoned(sound)), max_batch=3)
    with pytest.raises(GenerationError, match="not finite"):
        engine.run([*SOUND, failing])
    assert engine.num_running == engine.num_waiting == 0
    require(engine.run(SOUND), expected)
