"""Dense models of transformers are read as ours, and mixtures made of them compute the same at step 0."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.tensors.names import is_expert
from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.first_weights import FirstWeights, InitialWeights
from tests.kit.optional import needs

pytestmark = needs("transformers")

COMMON = {
    "vocab_size": 384,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 50_000.0},
}
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama": ("Llama", {}, {}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}, {"tied_head": True}),
    "mistral": ("Mistral", {"sliding_window": None}, {}),
    "qwen2": ("Qwen2", {}, {"qkv_bias": True}),
    "qwen3": ("Qwen3", {"head_dim": 16}, {"qk_norm": True, "head_size": 16}),
}
FIELDS = {"num_layers": 3, "dense_size": 48, "rope_theta": 50_000.0}


@pytest.fixture(params=FAMILIES, scope="module")
def family(request: pytest.FixtureRequest) -> str:
    selected: str = request.param
    return selected


@pytest.fixture(scope="module")
def theirs(family: str) -> nn.Module:
    import transformers

    name, fields, _ = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**COMMON, **({"tie_word_embeddings": False} | fields))
    model: nn.Module = getattr(transformers, f"{name}ForCausalLM")(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.2, generator=generator)
    return model


@pytest.fixture(scope="module")
def folder(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    theirs.save_pretrained(folder)
    return folder


def ids() -> Tensor:
    return torch.randint(0, 384, (2, 20), generator=torch.Generator().manual_seed(1))


def expected(theirs: nn.Module) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = theirs(ids()).logits
    return logits


def test_a_dense_directory_is_a_model_of_ours(family: str, theirs: nn.Module, folder: Path) -> None:
    ours = ArcticModel.from_pretrained(folder)
    assert (ours.config.num_experts, ours.config.rope_theta) == (0, 50_000.0)
    assert all(getattr(ours.config, name) == value for name, value in FAMILIES[family][2].items())
    torch.testing.assert_close(ours(ids()), expected(theirs), atol=2e-4, rtol=1e-4)


UPCYCLED = {
    "plain experts": {"layer_shape": "moe", "expert_size": 48, "top_k": 3, "num_experts": 6},
    "in every second layer": {"layer_shape": "moe", "expert_size": 48, "moe_layer_frequency": 2},
    "a shared expert": {"layer_shape": "shared", "expert_size": 48},
    "arctic": {"expert_size": 48, "router_bias": True},
}


def built(config: ArcticConfig, first: FirstWeights) -> ArcticModel:
    """A model from `first`, each parameter in pieces of 1000 values."""
    model = ArcticModel(config, seed=5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            size = parameter.numel()
            pieces = [first.read_slice(name, "weight", at, min(1000, size - at)) for at in range(0, size, 1000)]
            parameter.copy_(torch.cat(pieces).view(parameter.shape))
        for name, buffer in model.named_buffers():
            assert not first.read_slice(name, "weight", 0, buffer.numel()).any()
    return model


@pytest.mark.parametrize("shape", UPCYCLED.values(), ids=UPCYCLED)
def test_a_mixture_made_of_a_dense_model_scores_the_same(
    family: str, theirs: nn.Module, folder: Path, shape: dict[str, Any]
) -> None:
    config = preset("tiny", FIELDS | FAMILIES[family][2] | shape)
    model = built(config, InitialWeights(folder, seed=3).open(config))
    torch.testing.assert_close(model(ids()), expected(theirs), atol=2e-4, rtol=1e-4)
    up = next(parameter for name, parameter in model.named_parameters() if is_expert(name) and name.endswith("w1"))
    assert torch.equal(up[0], up[-1]) and up.any()
    gates = [parameter for name, parameter in model.named_parameters() if ".gate." in name]
    assert all(float(gate.detach().std()) == pytest.approx(0.02, rel=0.3) for gate in gates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 64}, "hidden_size = 64 must be 32"),
        ({"vocab_size": 400}, "vocab_size = 400 must be 384"),
        ({"layer_shape": "moe", "expert_size": 24}, "expert_size = 24 must be 48"),
        ({"dense_size": 32, "num_experts": 0}, "mlp_size = 32 must be 48"),
        ({"num_layers": 2}, "num_layers = 2 must be 3"),
    ],
)
def test_weights_of_another_model_are_refused(folder: Path, family: str, change: dict[str, Any], message: str) -> None:
    config = preset("tiny", FIELDS | FAMILIES[family][2] | {"expert_size": 48} | change)
    with pytest.raises(CheckpointError, match=message):
        InitialWeights(folder).open(config)


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("Llama", {"attention_bias": True}, "attention_bias = True: not supported"),
        ("Llama", {"hidden_act": "gelu"}, "hidden_act = 'gelu': must be 'silu'"),
        ("Mistral", {"sliding_window": 64}, "sliding_window = 64: not supported"),
        (
            "Llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "rope_parameters = .*'linear' are not supported",
        ),
    ],
)
def test_a_feature_that_our_layer_has_not_is_named(
    tmp_path: Path, family: str, fields: dict[str, Any], message: str
) -> None:
    import transformers

    getattr(transformers, f"{family}Config")(**(COMMON | fields)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        ArcticModel.from_pretrained(tmp_path)
