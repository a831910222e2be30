"""An exported directory is the model: for `transformers`, to the last bit of its weights, and without this project."""

import ast
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arctic_model.export.exporting import export
from arctic_model.export.formats import FORMATS
from arctic_model.export.huggingface import MODELING_FILES
from arctic_model.export.validation import Agreement
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from tests.kit.tokenizers import write_byte_tokenizer

IDS = torch.arange(4, 4 + 60).view(2, 30)


@pytest.fixture(scope="module")
def loaded(huggingface: tuple[Path, Agreement]):
    """The class of the modeling file, without the copy that `transformers` makes of a folder's code."""
    from arctic_model.export.remote_code.modeling_arctic import ArcticForCausalLM

    return ArcticForCausalLM.from_pretrained(huggingface[0], dtype=torch.float32).eval()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_transformers_computes_what_the_model_computes(huggingface: tuple[Path, Agreement]) -> None:
    agreement = huggingface[1]
    assert agreement.max_difference < 1e-5
    assert agreement.argmax_share == agreement.greedy_share == 1.0
    assert agreement.tokens > 200
    assert agreement.bits_per_byte == pytest.approx(agreement.engine_bits_per_byte, abs=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        {"top_k": 1},
        {"num_kv_heads": 1},
        {"num_kv_heads": 4, "top_k": 4},
        {"rope_theta": 500_000.0},
        {"yarn_factor": 8.0, "yarn_original_positions": 16},
        {"yarn_factor": 4.0, "yarn_original_positions": 8, "yarn_attention_factor": 1.5, "yarn_beta_fast": 8.0},
        {"num_experts": 0, "dense_size": 48},
        {"num_experts": 0, "qkv_bias": True, "tied_head": True},
        {"layer_shape": "moe", "qk_norm": True, "head_size": 16},
        {"learned_sinks": True},
        {"learned_sinks": True, "num_experts": 0, "qkv_bias": True, "qk_norm": True, "num_kv_heads": 1},
        {"layer_shape": "moe", "moe_layer_frequency": 2, "tied_head": True},
        {"layer_shape": "shared", "dense_size": 40, "router_bias": True},
        {"layer_shape": "shared", "qkv_bias": True, "qk_norm": True, "moe_layer_frequency": 2},
        {"moe_layer_frequency": 2, "head_size": 24, "yarn_factor": 8.0, "yarn_original_positions": 16},
    ],
)
def test_every_shape_agrees(tmp_path: Path, overrides: dict[str, float]) -> None:
    from arctic_model.export.remote_code.modeling_arctic import ArcticForCausalLM

    model = exported(tmp_path, overrides)
    theirs = ArcticForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, model(IDS), atol=2e-5, rtol=1e-5)


def test_a_bias_of_the_router_moves_the_choice_and_stays_float32(tmp_path: Path) -> None:
    from arctic_model.export.remote_code.modeling_arctic import ArcticForCausalLM

    model = exported(tmp_path, {"router_bias": True})
    theirs = ArcticForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32).eval()
    halved = ArcticForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, model(IDS), atol=2e-5, rtol=1e-5)
        model.set_router_biases(torch.zeros(2, 4))
        assert not torch.allclose(theirs(IDS).logits, model(IDS), atol=1e-2)
    assert halved.model.layers[0].block_sparse_moe.gate.e_score_correction_bias.dtype == torch.float32


def exported(folder: Path, overrides: dict[str, float]) -> ArcticModel:
    """A model of random weights, biases and sinks, written to `folder`/export without validation."""
    model = ArcticModel(preset("tiny", {"init_std": 0.2} | overrides), seed=1).eval()
    for layer in model.model.layers:
        if model.config.learned_sinks:
            torch.nn.init.normal_(layer.self_attn.sinks, generator=torch.Generator().manual_seed(3))
    if model.config.router_bias:
        model.set_router_biases(torch.randn(2, 4, generator=torch.Generator().manual_seed(2)))
    model.save_pretrained(folder / "checkpoint")
    write_byte_tokenizer(folder)
    (folder / "export").mkdir()
    from arctic_model.checkpoint.reading import Checkpoint

    FORMATS["huggingface"].write(Checkpoint(folder / "checkpoint"), folder, folder / "export", "float32")
    return model


def test_generate_with_a_cache_gives_the_models_own_continuation(loaded, checkpoint: Path) -> None:
    prompt = IDS[:1, :9]
    continued = loaded.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=40, do_sample=False)
    (own,) = ArcticModel.from_pretrained(checkpoint).generate(prompt.tolist(), 40, end_ids=(0, 3))
    assert continued[0, 9:].tolist() == own


def test_a_padded_batch_gives_each_row_what_it_gets_alone(loaded) -> None:
    ids = torch.tensor([[1, 1, 1, 40, 41], [50, 51, 52, 53, 54]])
    mask = (ids != 1).long()
    with torch.no_grad():
        batch = loaded(ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits
        torch.testing.assert_close(batch[0, 3:], loaded(ids[:1, 3:]).logits[0], atol=2e-5, rtol=1e-5)


def test_the_weights_are_the_checkpoints_to_the_bit_and_save_pretrained_writes_them_again(
    loaded, huggingface: tuple[Path, Agreement], checkpoint: Path, tmp_path: Path
) -> None:
    original, first = weights(checkpoint), weights(huggingface[0])
    loaded.save_pretrained(tmp_path)
    second = weights(tmp_path)
    assert original.keys() == first.keys() == second.keys()
    assert all(torch.equal(original[name], first[name]) for name in original)
    assert all(torch.equal(original[name], second[name]) for name in original)


def test_an_export_is_a_checkpoint_of_ours_again(huggingface: tuple[Path, Agreement], checkpoint: Path) -> None:
    ours, again = ArcticModel.from_pretrained(checkpoint), ArcticModel.from_pretrained(huggingface[0])
    assert again.config == ours.config
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in again.state_dict().items())


def test_the_index_names_the_file_of_every_tensor(huggingface: tuple[Path, Agreement]) -> None:
    folder = huggingface[0]
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in weights(folder).values())
    for name, file in index["weight_map"].items():
        assert name in load_file(folder / file)


def test_the_configuration_names_the_code_and_the_special_tokens(huggingface: tuple[Path, Agreement]) -> None:
    config = json.loads((huggingface[0] / "config.json").read_text())
    assert config["architectures"] == ["ArcticForCausalLM"]
    assert set(config["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForCausalLM"}
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (0, 0, 1)
    assert config["head_dim"] == 8
    assert json.loads((huggingface[0] / "generation_config.json").read_text())["eos_token_id"] == [0, 3]


@pytest.mark.parametrize("num_kv_heads", [1, 2])
def test_a_single_key_value_head_is_not_split_over_a_tensor_parallel_group(num_kv_heads: int) -> None:
    from arctic_model.export.remote_code.configuration_arctic import ArcticConfig

    config = ArcticConfig(num_attention_heads=4, num_key_value_heads=num_kv_heads)
    split = {name.split(".")[-1] for name in config.base_model_tp_plan}
    assert ({"k_proj", "v_proj"} <= split) == (num_kv_heads > 1)
    assert {"q_proj", "o_proj", "w1", "w2", "w3"} <= split
    assert "base_model_tp_plan" not in config.to_dict()


def test_the_modeling_files_import_nothing_but_torch_and_transformers(huggingface: tuple[Path, Agreement]) -> None:
    for name in MODELING_FILES:
        text = (huggingface[0] / name).read_text()
        assert "Apache License" in text
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 or node.module == "configuration_arctic"
                names = [] if node.level else [node.module]
            assert all(module.split(".")[0] in ("torch", "transformers") for module in names), names


def test_bfloat16_halves_the_bytes_and_stays_the_same_model(
    checkpoint: Path, huggingface: tuple[Path, Agreement], tmp_path: Path
) -> None:
    agreement = export(checkpoint, checkpoint, tmp_path, FORMATS["huggingface"], "bfloat16")
    full, half = weights(huggingface[0]), weights(tmp_path)
    assert sum(tensor.nbytes for tensor in half.values()) * 2 == sum(tensor.nbytes for tensor in full.values())
    assert all(torch.equal(half[name], full[name].bfloat16()) for name in full)
    assert 0 < agreement.mean_kl < 0.02


def test_a_gradient_reaches_every_weight(loaded) -> None:
    loaded(IDS, labels=IDS).loss.backward()
    assert all(bool(parameter.grad.any()) for parameter in loaded.parameters())
    loaded.zero_grad()
