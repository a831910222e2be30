"""The architecture in numbers: presets, counts, names, and errors with remedies."""

import ast
import dataclasses
import json
import subprocess
import sys

import pytest
import torch

from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.presets import PRESETS, preset
from arctic_model.sizing.flops import count_parameters


@pytest.mark.parametrize("name", PRESETS)
def test_the_formula_counts_what_the_model_holds(name: str) -> None:
    with torch.device("meta"):
        model = ArcticModel(preset(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == count_parameters(preset(name)).total


def test_tensors_have_the_released_models_names_and_shapes() -> None:
    with torch.device("meta"):
        model = ArcticModel(preset("arctic-480b", {"num_layers": 1}))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.logical_tensors()}
    layer = "model.layers.0."
    expected = {
        "model.embed_tokens.weight": (32000, 7168),
        "lm_head.weight": (32000, 7168),
        "model.norm.weight": (7168,),
        layer + "block_sparse_moe.gate.weight": (128, 7168),
        **{layer + f"self_attn.{name}_proj.weight": (7168, 7168) for name in "qo"},
        **{layer + f"self_attn.{name}_proj.weight": (1024, 7168) for name in "kv"},
        **{layer + f"{name}_layernorm.weight": (7168,) for name in ("input", "post_attention", "residual")},
        **{layer + f"residual_mlp.w{number}.weight": (7168, 7168) for number in (1, 2, 3)},
        **{
            layer + f"block_sparse_moe.experts.{e}.w{number}.weight": (4864, 7168)
            for e in range(128)
            for number in (1, 3)
        },
        **{layer + f"block_sparse_moe.experts.{e}.w2.weight": (7168, 4864) for e in range(128)},
    }
    assert shapes == expected


def test_fields_survive_both_dictionaries() -> None:
    config = preset("tiny", {"rope_theta": 5000.0})
    assert ArcticConfig.from_dict(config.to_dict()) == config
    assert ArcticConfig.from_huggingface(config.to_huggingface()) == config
    assert config.to_huggingface()["parallel_attn_mlp_res"] is True


SHAPES = [
    {"num_experts": 0, "dense_size": 48},
    {"layer_shape": "moe", "moe_layer_frequency": 2, "qk_norm": True},
    {"layer_shape": "shared", "qkv_bias": True, "tied_head": True, "router_bias": True},
    {"head_size": 16},
    {"learned_sinks": True},
    {"yarn_factor": 8.0, "yarn_original_positions": 16, "yarn_attention_factor": 1.25, "yarn_beta_fast": 16.0},
]


@pytest.mark.parametrize("overrides", SHAPES)
def test_other_shapes_survive_both_dictionaries_too(overrides: dict) -> None:
    config = preset("tiny", overrides)
    assert ArcticConfig.from_dict(config.to_dict()) == config
    assert ArcticConfig.from_huggingface(config.to_huggingface()) == config
    assert config.to_huggingface()["parallel_attn_mlp_res"] is (config.layer_shape == "hybrid")


@pytest.mark.parametrize("overrides", [*SHAPES, {"layer_shape": "moe"}])
def test_the_formula_counts_other_shapes_too(overrides: dict) -> None:
    config = preset("tiny", {"num_layers": 3, **overrides})
    model = ArcticModel(config, seed=0)
    count = count_parameters(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == count.total
    unused = sum(
        parameter.numel() * (config.num_experts - config.top_k) // config.num_experts
        for name, parameter in model.named_parameters()
        if ".experts." in name
    )
    assert count.active == count.total - unused


def test_fields_of_later_shapes_are_in_no_key_and_no_file_of_the_first_models() -> None:
    first = {
        *("vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "num_experts", "expert_size"),
        *("max_positions", "top_k", "rope_theta", "rms_norm_eps", "init_std", "router_bias"),
    }
    assert set(preset("arctic-480b").to_dict()) == first
    assert set(preset("tiny").to_huggingface()) == {
        *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        *("num_local_experts", "num_experts_per_tok", "intermediate_size", "max_position_embeddings", "rope_theta"),
        *("rms_norm_eps", "initializer_range", "architectures", "model_type", "hidden_act", "moe_layer_frequency"),
        *("moe_token_dropping", "parallel_attn_mlp_res", "tie_word_embeddings", "torch_dtype", "use_residual"),
    }


def test_only_a_model_balanced_by_a_bias_says_so_and_has_one() -> None:
    plain, biased = preset("tiny"), preset("tiny", {"router_bias": True})
    assert ArcticConfig.from_huggingface(biased.to_huggingface()) == biased
    assert set(biased.to_huggingface()) - set(plain.to_huggingface()) == {"router_bias"}
    names = [{name for name, _ in ArcticModel(config).logical_tensors()} for config in (plain, biased)]
    assert names[1] - names[0] == {
        f"model.layers.{layer}.block_sparse_moe.gate.e_score_correction_bias" for layer in range(2)
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"width": 3}, r"^width = 3: no such field"),
        ({"num_heads": 3}, r"num_heads = 3 does not divide hidden_size = 32"),
        ({"num_kv_heads": 3}, r"num_kv_heads = 3 does not divide num_heads = 4"),
        ({"top_k": 5}, r"top_k = 5 is more than num_experts = 4"),
        ({"num_layers": 0}, r"num_layers = 0: must be above 0"),
        ({"hidden_size": 12}, r"must be even"),
        ({"rope_theta": float("inf")}, r"rope_theta = inf: must be above 0, and finite"),
        ({"init_std": float("nan")}, r"init_std = nan: must be above 0, and finite"),
        ({"num_experts": -1}, r"num_experts = -1: must be above 0"),
        ({"dense_size": 0}, r"dense_size = 0: must be above 0"),
        ({"head_size": 7}, r"head_size = 7: it must be even"),
        ({"layer_shape": "parallel"}, r"layer_shape = 'parallel': must be hybrid, shared, moe"),
        ({"moe_layer_frequency": 3}, r"moe_layer_frequency = 3 is more than num_layers = 2, .* num_experts = 0"),
        ({"num_experts": 0, "layer_shape": "moe"}, r"layer_shape = 'moe' with num_experts = 0: the model has no exp"),
        ({"num_experts": 0, "router_bias": True}, r"router_bias = True with num_experts = 0"),
        ({"yarn_factor": 0.5}, r"yarn_factor = 0.5: must be 1, for no scaling, or more"),
        ({"yarn_factor": 4.0}, r"yarn_factor = 4.0 without yarn_original_positions"),
        ({"yarn_beta_slow": 2.0}, r"yarn_beta_slow = 2.0 with yarn_factor = 1.0: positions are not scaled"),
        (
            {"yarn_factor": 2.0, "yarn_original_positions": 64, "yarn_beta_fast": 1.0},
            r"yarn_beta_fast = 1.0 must be above yarn_beta_slow = 1.0",
        ),
        ({"num_experts": 0, "moe_layer_frequency": 2}, r"moe_layer_frequency = 2 with num_experts = 0"),
    ],
)
def test_impossible_numbers_are_refused(overrides: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preset("tiny", overrides)


OTHER_VALUES = (2.5, 2.0, 2, True, "2", None, [2], {})
CONSTRUCT = f"""
import dataclasses, json
from arctic_model.config import ArcticConfig
from arctic_model.presets import PRESETS

answers = []
for field in dataclasses.fields(ArcticConfig):
    for value in {OTHER_VALUES!r}:
        try:
            ArcticConfig(**(PRESETS["tiny"].to_dict() | {{field.name: value}}))
            answers.append([field.name, getattr(field.type, "__name__", str(field.type)), repr(value), ""])
        except ValueError as error:
            answers.append([field.name, getattr(field.type, "__name__", str(field.type)), repr(value), str(error)])
print(json.dumps(answers))
"""


def test_no_field_takes_a_value_of_another_type() -> None:
    """A whole number is a valid number, and no other type is converted. In a separate process: here every argument is
    checked against its annotation before the model sees it."""
    done = subprocess.run([sys.executable, "-c", CONSTRUCT], check=True, capture_output=True, text=True)
    allowed = {"int": {"int"}, "float": {"int", "float"}, "bool": {"bool"}, "int | None": {"int", "NoneType"}}
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "int | None": "a whole number"}
    allowed["str"], words["str"] = set(), "a text"
    allowed["float | None"], words["float | None"] = {"int", "float", "NoneType"}, "a number"
    answers = json.loads(done.stdout)
    assert len(answers) == len(dataclasses.fields(ArcticConfig)) * len(OTHER_VALUES)
    for name, kind, value, message in answers:
        if type(ast.literal_eval(value)).__name__ in allowed[kind]:
            assert "must be" not in message
        elif name == "layer_shape" and value == "'2'":
            assert message == "layer_shape = '2': must be hybrid, shared, moe. Choose one."
        else:
            assert message == f"{name} = {value}: must be {words[kind]}. Change the value."


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="no such preset. There are tiny, quickstart, .*, arctic-480b"):
        preset("small")
