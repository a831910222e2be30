"""Experts that are starved or crowded, counted one by one from the assignments."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from arctic_model.moe.balance import MIN_MEAN_ASSIGNMENTS, imbalance

NUM_EXPERTS = 8
LAYER = st.lists(st.integers(0, 4000), min_size=NUM_EXPERTS, max_size=NUM_EXPERTS)


@given(st.lists(LAYER, min_size=1, max_size=4))
def test_every_expert_is_held_against_an_even_share_of_its_layer(layers: list[list[int]]) -> None:
    result = imbalance(torch.tensor(layers, dtype=torch.float64))
    if min(map(sum, layers)) < NUM_EXPERTS * MIN_MEAN_ASSIGNMENTS:
        assert result is None
        return
    assert result is not None
    # In whole numbers, so that exactly a tenth or three times a share counts as neither.
    pairs = [(count, sum(layer)) for layer in layers for count in layer]
    assert result.starved == sum(10 * NUM_EXPERTS * count < total for count, total in pairs)
    assert result.crowded == sum(NUM_EXPERTS * count > 3 * total for count, total in pairs)
    loads = [count / (total / NUM_EXPERTS) for count, total in pairs]
    assert (result.least[0], result.greatest[0]) == (min(loads), max(loads))
    for load, layer, expert in (result.least, result.greatest):
        assert load == layers[layer][expert] / (sum(layers[layer]) / NUM_EXPERTS)


def test_a_few_tokens_are_no_reason_to_worry() -> None:
    few, many = (torch.tensor([[0.0, 2.0 * mean]]) for mean in (MIN_MEAN_ASSIGNMENTS - 1, MIN_MEAN_ASSIGNMENTS))
    assert imbalance(few) is None
    assert imbalance(many) is not None
