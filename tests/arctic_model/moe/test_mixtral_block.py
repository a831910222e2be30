"""An independent implementation of the same maths: Hugging Face's Mixtral block with our weights."""

import pytest
import torch

from arctic_model.config import ArcticConfig
from arctic_model.moe.sparse_moe import SparseMoE
from arctic_model.presets import preset


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_outputs_and_gradients_are_those_of_mixtrals_sparse_block(implementation: str) -> None:
    """In float32 on 60 tokens: within 1e-6 of values of size 1, gradients within 1e-5."""
    config = preset("tiny", {"num_experts": 6, "top_k": 2})
    ours, theirs = our_block(config), mixtral_block(config, implementation)
    with torch.no_grad():
        theirs.gate.weight.copy_(ours.gate.weight)
        theirs.experts.gate_up_proj.copy_(torch.cat([ours.experts.w1, ours.experts.w3], dim=1))
        theirs.experts.down_proj.copy_(ours.experts.w2)
    x, upstream = torch.randn(2, 3, 20, config.hidden_size, generator=torch.Generator().manual_seed(1)).unbind()
    our_x, their_x = x.clone().requires_grad_(), x.clone().requires_grad_()

    result, expected = ours(our_x), theirs(their_x)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-5)

    result.backward(upstream)
    expected.backward(upstream)
    w1_gradient, w3_gradient = theirs.experts.gate_up_proj.grad.chunk(2, dim=1)
    pairs = [
        (our_x.grad, their_x.grad),
        (ours.gate.weight.grad, theirs.gate.weight.grad),
        (ours.experts.w1.grad, w1_gradient),
        (ours.experts.w2.grad, theirs.experts.down_proj.grad),
        (ours.experts.w3.grad, w3_gradient),
    ]
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def our_block(config: ArcticConfig) -> SparseMoE:
    block = SparseMoE(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return block


def mixtral_block(config: ArcticConfig, implementation: str) -> torch.nn.Module:
    modeling = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    theirs = modeling.MixtralConfig(
        hidden_size=config.hidden_size,
        intermediate_size=config.expert_size,
        num_local_experts=config.num_experts,
        num_experts_per_tok=config.top_k,
    )
    theirs._experts_implementation = implementation
    return modeling.MixtralSparseMoeBlock(theirs)
