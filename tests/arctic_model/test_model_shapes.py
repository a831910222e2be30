"""Every shape of model gives the same result as transformers with the same weights, forward and backward."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from tests.kit.optional import needs

pytestmark = needs("transformers")

COMMON = {
    "vocab_size": 384,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "attn_implementation": "eager",
}
THETA = {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True}


@dataclass(frozen=True)
class Peer:
    """A model of transformers, the fields of `ArcticConfig` that make ours the same, and how its weights are named."""

    model: str
    theirs: Mapping[str, Any]
    ours: Mapping[str, Any]

    def build(self) -> nn.Module:
        import transformers

        config = getattr(transformers, f"{self.model}Config")(**COMMON, **THETA, **self.theirs)
        model: nn.Module = getattr(transformers, f"{self.model}ForCausalLM")(config)
        generator = torch.Generator().manual_seed(0)
        for name, parameter in model.named_parameters():
            nn.init.normal_(parameter, mean=float("norm" in name), std=0.2, generator=generator)
            if name.endswith("shared_expert_gate.weight"):
                nn.init.zeros_(parameter)
        return model

    @property
    def config(self) -> ArcticConfig:
        return preset("tiny", {"num_layers": 4, **self.ours})


DENSE = {"num_experts": 0, "dense_size": 48}
PEERS = {
    "llama": Peer("Llama", {"intermediate_size": 48, "tie_word_embeddings": False}, DENSE),
    "llama, tied": Peer("Llama", {"intermediate_size": 48, "tie_word_embeddings": True}, DENSE | {"tied_head": True}),
    "qwen2": Peer("Qwen2", {"intermediate_size": 48, "tie_word_embeddings": False}, DENSE | {"qkv_bias": True}),
    "qwen3, wide heads": Peer(
        "Qwen3",
        {"intermediate_size": 48, "head_dim": 16, "tie_word_embeddings": False},
        DENSE | {"qk_norm": True, "head_size": 16},
    ),
    "granite, learned sinks": Peer(
        "GraniteSWA",
        {
            "intermediate_size": 48,
            "tie_word_embeddings": False,
            "attention_multiplier": 8**-0.5,
            "layer_types": ["full_attention"] * 4,
        },
        DENSE | {"learned_sinks": True},
    ),
    "mixtral": Peer(
        "Mixtral",
        {"intermediate_size": 24, "num_local_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": False},
        {"layer_shape": "moe"},
    ),
    "qwen3-moe, every second": Peer(
        "Qwen3Moe",
        EXPERTS | {"intermediate_size": 48, "decoder_sparse_step": 2, "head_dim": 8, "tie_word_embeddings": True},
        {"layer_shape": "moe", "moe_layer_frequency": 2, "dense_size": 48, "qk_norm": True, "tied_head": True},
    ),
    "qwen2-moe": Peer(
        "Qwen2Moe",
        EXPERTS | {"intermediate_size": 48, "shared_expert_intermediate_size": 48, "tie_word_embeddings": False},
        {"layer_shape": "shared", "dense_size": 48, "qkv_bias": True},
    ),
    "qwen2-moe, every third": Peer(
        "Qwen2Moe",
        EXPERTS
        | {
            "intermediate_size": 48,
            "shared_expert_intermediate_size": 48,
            "decoder_sparse_step": 3,
            "tie_word_embeddings": False,
        },
        {"layer_shape": "shared", "moe_layer_frequency": 3, "dense_size": 48, "qkv_bias": True},
    ),
}


@pytest.fixture(params=PEERS.values(), ids=PEERS)
def peer(request: pytest.FixtureRequest) -> Peer:
    selected: Peer = request.param
    return selected


HALF = 0.5
"""Factor of the gate of Qwen2-MoE's shared expert, sigmoid(0), on its output; ours has no gate."""
PROJECTIONS = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}


def named(
    theirs: nn.Module, config: ArcticConfig, read: Callable[[Tensor], Tensor], shared_factor: float
) -> dict[str, Tensor]:
    """The result of `read` on their parameters, by our names and one tensor per expert; the last matrix of a shared
    expert times `shared_factor`."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in theirs.named_parameters():
        value = read(parameter)
        layer = int(name.split(".")[2]) if ".layers." in name else -1
        prefix = f"model.layers.{layer}."
        if ".experts.gate_up_proj" in name or ".experts.down_proj" in name:
            matrices = {"w2": value} if "down" in name else dict(zip(("w1", "w3"), value.chunk(2, dim=1), strict=True))
            for matrix, stack in matrices.items():
                for expert, one in enumerate(stack):
                    tensors[f"{prefix}block_sparse_moe.experts.{expert}.{matrix}.weight"] = one
        elif name.endswith(".gate.weight"):
            tensors[f"{prefix}block_sparse_moe.gate.weight"] = value
        elif ".shared_expert_gate." in name:
            continue
        elif ".mlp." in name:
            factor = shared_factor if "shared_expert.down_proj" in name else 1.0
            tensors[f"{prefix}residual_mlp.{PROJECTIONS[name.split('.')[-2]]}.weight"] = value * factor
        elif "post_attention_layernorm" in name and layer not in config.moe_layers:
            tensors[f"{prefix}residual_layernorm.weight"] = value
        else:
            tensors[name] = value
    return tensors


def twin(theirs: nn.Module, config: ArcticConfig) -> ArcticModel:
    """Ours with their weights."""
    ours = ArcticModel(config, seed=0)
    weights = named(theirs, config, torch.Tensor.detach, HALF)
    with torch.no_grad():
        for name, tensor in ours.logical_tensors():
            tensor.copy_(weights.pop(name))
    assert not weights
    return ours


def test_logits_and_gradients_are_those_of_transformers(peer: Peer) -> None:
    theirs = peer.build()
    ours = twin(theirs, peer.config)
    ids = torch.randint(0, 384, (2, 20), generator=torch.Generator().manual_seed(1))
    expected, result = theirs(ids).logits, ours(ids)
    torch.testing.assert_close(result, expected, atol=2e-4, rtol=1e-4)

    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)) / expected.numel() ** 0.5
    expected.backward(upstream)
    result.backward(upstream)
    gradients = named(theirs, peer.config, lambda parameter: parameter.grad, 1 / HALF)
    for parameter in ours.parameters():
        parameter.data = parameter.grad
    for name, mine in ours.logical_tensors():
        torch.testing.assert_close(mine, gradients[name], atol=1e-4, rtol=1e-3, msg=name)


def test_generation_token_by_token_follows_the_whole_pass(peer: Peer) -> None:
    model = twin(peer.build(), peer.config).eval()
    ids = [5, 17, 300]
    with torch.inference_mode():
        for _ in range(6):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert model.generate([ids[:3]], max_new_tokens=6) == [ids[3:]]
