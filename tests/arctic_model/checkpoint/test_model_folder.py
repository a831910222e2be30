"""A Hugging Face directory of an Arctic model is read unchanged, and an unreadable one is reported with the remedy."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import open_weights
from arctic_model.checkpoint.tensors.shapes import tensor_shapes
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

RELEASED = {
    "architectures": ["ArcticForCausalLM"],
    "attention_dropout": 0,
    "auto_map": {"AutoModelForCausalLM": "modeling_arctic.ArcticForCausalLM"},
    "bos_token_id": 31998,
    "enable_expert_tensor_parallelism": False,
    "eos_token_id": 31999,
    "hidden_act": "silu",
    "hidden_size": 7168,
    "initializer_range": 0.02,
    "intermediate_size": 4864,
    "max_position_embeddings": 4096,
    "max_sequence_length": 4096,
    "model_type": "arctic",
    "moe_eval_capacity_factor": 1,
    "moe_layer_frequency": 1,
    "moe_min_capacity": 0,
    "moe_token_dropping": True,
    "moe_train_capacity_factor": 1,
    "num_attention_heads": 56,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 35,
    "num_key_value_heads": 8,
    "num_local_experts": 128,
    "parallel_attn_mlp_res": True,
    "quantization": None,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "router_aux_loss_coef": 0.001,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_residual": True,
    "vocab_size": 32000,
}
"""`config.json` of the released base model."""
SMALL = RELEASED | {
    "hidden_size": 32,
    "intermediate_size": 24,
    "max_position_embeddings": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "vocab_size": 384,
}
"""The preset "tiny" in these words."""


def weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {name: tensor.to(dtype) for name, tensor in ArcticModel(preset("tiny"), seed=0).logical_tensors()}


def write(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any] = SMALL, *, sharded: bool = False) -> Path:
    """As `save_pretrained` of transformers writes a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if not sharded:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder
    first = {name: tensor for name, tensor in tensors.items() if ".0." in name}
    parts = {"model-00001-of-00002.safetensors": first}
    parts["model-00002-of-00002.safetensors"] = {name: tensors[name] for name in tensors if name not in first}
    for file, part in parts.items():
        save_file(part, folder / file, {"format": "pt"})
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_hugging_face_directory_holds_the_same_model(tmp_path: Path, dtype: torch.dtype, sharded: bool) -> None:
    tensors = weights(dtype)
    loaded = ArcticModel.from_pretrained(write(tmp_path / "model", tensors, sharded=sharded))
    assert loaded.config == preset("tiny")
    for name, tensor in loaded.logical_tensors():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, tensors[name].float()), name


def test_a_tensor_comes_in_the_dtype_of_its_file_and_so_does_a_part_of_a_stack(tmp_path: Path) -> None:
    tensors = weights(torch.bfloat16)
    opened = open_weights(write(tmp_path, tensors))
    assert torch.equal(opened.read("lm_head.weight"), tensors["lm_head.weight"])
    stack = torch.cat([tensors[f"model.layers.1.block_sparse_moe.experts.{e}.w2.weight"].view(-1) for e in range(4)])
    part = opened.read_slice("model.layers.1.block_sparse_moe.experts.w2", "weight", 700, 900)
    assert torch.equal(part, stack[700:1600])


@pytest.mark.parametrize(
    "words",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}, "rope_theta": None},
        {"rope_scaling": {"type": "default"}, "rope_theta": 5000.0},
        {"head_dim": 8, "rope_theta": 5000.0},
    ],
    ids=["transformers 5", "transformers 4", "explicit head_dim"],
)
def test_the_same_numbers_in_other_words_are_the_same_model(tmp_path: Path, words: dict[str, Any]) -> None:
    folder = write(tmp_path, weights(), SMALL | words)
    assert open_weights(folder).config == preset("tiny", {"rope_theta": 5000.0})


@pytest.mark.parametrize(
    "words",
    [
        {"rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16}},
        {"rope_scaling": {"rope_type": "yarn", "factor": 8.0}, "max_position_embeddings": 16},
    ],
    ids=["transformers 4", "transformers 5", "without the original length"],
)
def test_positions_scaled_by_yarn_are_read_in_any_words(tmp_path: Path, words: dict[str, Any]) -> None:
    config = open_weights(write(tmp_path, weights(), SMALL | words)).config
    assert (config.yarn_factor, config.yarn_original_positions, config.rope_theta) == (8.0, 16, 10_000.0)


def released_names() -> dict[str, tuple[int, ...]]:
    """The released model's tensors, spelled out."""
    layer: dict[str, tuple[int, ...]] = {f"self_attn.{name}_proj.weight": (7168, 7168) for name in "qo"}
    layer |= {f"self_attn.{name}_proj.weight": (1024, 7168) for name in "kv"}
    layer |= {f"{name}_layernorm.weight": (7168,) for name in ("input", "post_attention", "residual")}
    layer |= {f"residual_mlp.w{number}.weight": (7168, 7168) for number in (1, 2, 3)}
    layer["block_sparse_moe.gate.weight"] = (128, 7168)
    for expert in range(128):
        layer |= {f"block_sparse_moe.experts.{expert}.w{number}.weight": (4864, 7168) for number in (1, 3)}
        layer[f"block_sparse_moe.experts.{expert}.w2.weight"] = (7168, 4864)
    names = {f"model.layers.{number}.{name}": shape for number in range(35) for name, shape in layer.items()}
    ends = {"model.embed_tokens.weight": (32000, 7168), "lm_head.weight": (32000, 7168), "model.norm.weight": (7168,)}
    return names | ends


def write_hollow(folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """A directory of bfloat16 zeros, one file a layer, that takes no room: its files are holes behind their headers."""
    (folder / "config.json").write_text(json.dumps(config))
    files: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        section = name.split(".")[2] if ".layers." in name else "ends"
        files.setdefault(f"model-{section}.safetensors", {})[name] = shape
    for file, members in files.items():
        header: dict[str, Any] = {}
        end = 0
        for name, shape in members.items():
            begin, end = end, end + 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (folder / file).write_bytes(len(text).to_bytes(8, "little") + text)
        os.truncate(folder / file, 8 + len(text) + end)
    index = {"weight_map": {name: file for file, members in files.items() for name in members}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_the_released_model_is_opened_without_reading_its_terabyte(tmp_path: Path) -> None:
    shapes = released_names()
    assert len(shapes) == 13_828
    assert sum(math.prod(shape) for shape in shapes.values()) == 478_584_608_768
    write_hollow(tmp_path, RELEASED, shapes)
    opened = open_weights(tmp_path)
    with torch.device("meta"):
        model = ArcticModel(opened.config)
    for name, tensor in model.logical_tensors():
        assert opened.read(name).shape == tensor.shape == shapes.pop(name)
    assert not shapes
    assert opened.read("model.layers.34.block_sparse_moe.experts.127.w2.weight")[-1, -1] == 0


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"router_bias": True},
        {"num_kv_heads": 4, "top_k": 1},
        {"num_experts": 0, "dense_size": 48, "tied_head": True},
        {"layer_shape": "shared", "qkv_bias": True, "head_size": 16},
        {"learned_sinks": True, "qkv_bias": True, "qk_norm": True},
        {"layer_shape": "moe", "num_layers": 5, "moe_layer_frequency": 2, "qk_norm": True},
    ],
)
def test_names_and_shapes_follow_from_the_config(overrides: dict[str, Any]) -> None:
    config = preset("tiny", overrides)
    with torch.device("meta"):
        model = ArcticModel(config)
    assert {name: tuple(tensor.shape) for name, tensor in model.logical_tensors()} == tensor_shapes(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_scaling": {"type": "dynamic", "factor": 8.0}}, "rope_scaling = .*'dynamic' are not .*before its"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling = .*: factor is missing"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 8.0, "mscale": 0.7}}, "rope_parameters.mscale = 0.7"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rope_parameters = .*'linear' are not supported"),
        ({"model_type": "mixtral"}, "model_type = 'mixtral'.*reads models with model_type = 'arctic'"),
        ({"parallel_attn_mlp_res": False}, "parallel_attn_mlp_res = False"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'.*hidden_act = 'silu'"),
        ({"attention_bias": True}, "attention_bias = True: not supported"),
        ({"sliding_window": 512}, "sliding_window = 512: not supported"),
        ({"quantization_config": {"bits": 8}}, "quantization_config = .*Convert the model"),
        ({"num_local_experts": None}, "num_local_experts: missing. Add"),
        ({"num_key_value_heads": 3}, "num_kv_heads = 3 does not divide num_heads = 4"),
        ({"hidden_size": "wide"}, "hidden_size = 'wide': must be a whole number"),
    ],
)
def test_another_model_is_refused_by_the_field_that_makes_it_another(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write(tmp_path, weights(), SMALL | change)
    with pytest.raises(CheckpointError, match=f"config.json: {message}"):
        open_weights(tmp_path)


def test_a_field_that_the_released_code_would_guess_must_be_there(tmp_path: Path) -> None:
    config = {name: value for name, value in SMALL.items() if name != "use_residual"}
    with pytest.raises(CheckpointError, match="use_residual: missing"):
        open_weights(write(tmp_path, weights(), config))


def without_head(folder: Path) -> None:
    tensors = weights()
    del tensors["lm_head.weight"]
    write(folder, tensors)


def with_another(folder: Path) -> None:
    write(folder, weights() | {"model.layers.0.self_attn.q_norm.weight": torch.ones(8)})


def with_wider_heads(folder: Path) -> None:
    write(folder, weights(), SMALL | {"head_dim": 16})


def narrower(folder: Path) -> None:
    write(folder, weights(), SMALL | {"intermediate_size": 16})


def outside(folder: Path) -> None:
    write(folder, weights(), sharded=True)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))


def pickled(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(SMALL))
    (folder / "pytorch_model.bin").write_bytes(b"")


def cut(folder: Path) -> None:
    write(folder, weights())
    os.truncate(folder / "model.safetensors", 100_000)


def absent(folder: Path) -> None:
    write(folder, weights(), sharded=True)
    (folder / "model-00001-of-00002.safetensors").unlink()


def quantized(folder: Path) -> None:
    write(folder, weights() | {"lm_head.weight": torch.zeros(384, 32, dtype=torch.int8)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (without_head, "lacks lm_head.weight. Copy the whole model"),
        (with_another, "has model.layers.0.self_attn.q_norm.weight, which config.json does not describe"),
        (with_wider_heads, r"q_proj.weight has shape \[32, 32\], by config.json it is \[64, 32\]"),
        (narrower, r"model.safetensors: .*w1.weight has shape \[24, 32\], by config.json it is \[16, 32\]"),
        (outside, "index.json: names the file '../model.safetensors' outside its folder"),
        (pickled, "holds neither model.safetensors.index.json nor .*pytorch_model.bin is pickled"),
        (cut, "model.safetensors: ends before the values of .* Copy the file again"),
        (absent, "model-00001-of-00002.safetensors: unreadable"),
        (quantized, "lm_head.weight has dtype I8. Convert the model to one of F32, BF16, F16"),
    ],
)
def test_a_folder_without_the_whole_model_is_named_with_the_mend(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        open_weights(tmp_path)


def test_rotary_angles_that_old_exports_store_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, weights() | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    assert open_weights(tmp_path).config == preset("tiny")
