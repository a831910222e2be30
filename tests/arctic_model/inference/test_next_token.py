"""One token at a time gives what the whole sequence gives at once."""

import pytest
import torch

from arctic_model.inference.next_token import next_state
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

LENGTH = 12


@pytest.fixture(params=[False, True], ids=["plain", "router_bias"])
def model(request: pytest.FixtureRequest) -> ArcticModel:
    model = ArcticModel(preset("tiny", {"router_bias": request.param}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    if request.param:
        config = model.config
        model.set_router_biases(torch.randn(config.num_layers, config.num_experts, generator=generator))
    return model


def read_at_once(model: ArcticModel, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.hidden_states(ids[None], positions[None], torch.zeros_like(ids)[None]).hidden[0]


def test_every_state_is_that_of_a_pass_over_the_whole_sequence(model: ArcticModel) -> None:
    ids = torch.randint(0, model.config.vocab_size, (LENGTH,), generator=torch.Generator().manual_seed(1))
    caches = model.new_caches(LENGTH)
    one_by_one = torch.stack(
        [next_state(model, int(id_), n, torch.zeros(1, 1, 1, n + 1), caches) for n, id_ in enumerate(ids)]
    )
    expected = read_at_once(model, ids, torch.arange(LENGTH))
    torch.testing.assert_close(one_by_one, expected, rtol=1e-4, atol=1e-4)
    assert caches[0].length == LENGTH


def test_a_masked_key_is_not_seen_and_positions_are_those_given(model: ArcticModel) -> None:
    ids = torch.randint(0, model.config.vocab_size, (LENGTH,), generator=torch.Generator().manual_seed(2))
    caches = model.new_caches(LENGTH)
    for n, id_ in enumerate(ids):
        mask = torch.zeros(1, 1, 1, n + 1)
        # The first two are padding, which everything after them leaves out.
        mask[..., : min(2, n)] = -torch.inf
        last = next_state(model, int(id_), max(0, n - 2), mask, caches)
    expected = read_at_once(model, ids[2:], torch.arange(LENGTH - 2))[-1]
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4)
