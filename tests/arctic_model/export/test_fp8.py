"""FP8: matrices in e4m3 with a scale per block of 128 x 128, close to the model and half the size of bfloat16."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from arctic_model.export.exporting import export
from arctic_model.export.formats import FORMATS
from arctic_model.kernels.fp8_blocks import quantize_blocks
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from tests.kit.tokenizers import write_byte_tokenizer


def restored(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Number by number: the value times the scale of its block."""
    rows, columns = values.shape
    return torch.stack(
        [torch.stack([values[i, j].float() * scales[i // 128, j // 128] for j in range(columns)]) for i in range(rows)]
    )


def test_the_largest_number_of_a_block_becomes_448() -> None:
    matrix = torch.zeros(130, 140)
    matrix[3, 5], matrix[129, 4], matrix[2, 139] = -8.96, 0.448, 4.48
    values, scales = quantize_blocks(matrix)
    assert values.dtype == torch.float8_e4m3fn and values.shape == matrix.shape
    assert (values[3, 5], values[129, 4], values[2, 139]) == (-448.0, 448.0, 448.0)
    torch.testing.assert_close(scales[:, 0], torch.tensor([0.02, 0.001]))
    assert float(scales[0, 1]) == pytest.approx(0.01)
    assert not values[128:, 128:].float().any() and scales[1, 1] > 0


def test_every_number_is_within_half_a_step_of_three_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(150, 133, generator=generator) * torch.rand(150, 1, generator=generator)
    values, scales = quantize_blocks(matrix)
    step = scales.repeat_interleave(128, 0).repeat_interleave(128, 1)[:150, :133]
    # 2^-4 of a normal number, half of 2^-9 of a subnormal one.
    bound = torch.maximum(matrix.abs() * 2**-4, step * 2**-10)
    assert ((restored(values, scales) - matrix).abs() <= bound * 1.001).all()


def exported(folder: Path, overrides: Mapping[str, Any]) -> Path:
    """The directory of a model of random weights, which transformers has loaded back and found close."""
    pytest.importorskip("transformers")
    small = {"hidden_size": 256, "expert_size": 128, "num_heads": 8, "init_std": 0.06, "max_positions": 160}
    checkpoint, out = folder / "checkpoint", folder / "fp8"
    ArcticModel(preset("tiny", small | overrides), seed=0).save_pretrained(checkpoint)
    write_byte_tokenizer(checkpoint)
    out.mkdir()
    agreement = export(checkpoint, checkpoint, out, FORMATS["fp8"], "float8_e4m3")
    assert 0 < agreement.mean_kl < 0.05
    assert agreement.engine_bits_per_byte == pytest.approx(agreement.bits_per_byte, rel=0.01)
    return out


@pytest.mark.parametrize(
    "overrides",
    [
        {"layer_shape": "moe", "moe_layer_frequency": 2, "qk_norm": True, "tied_head": True},
        {"num_experts": 0, "qkv_bias": True, "dense_size": 384},
        {"learned_sinks": True},
    ],
)
def test_other_shapes_than_arctics_stay_close(tmp_path: Path, overrides: Mapping[str, Any]) -> None:
    exported(tmp_path, overrides)


def test_transformers_reads_the_directory_and_stays_close(tmp_path: Path) -> None:
    out = exported(tmp_path, {})
    tensors = {name: value for file in out.glob("*.safetensors") for name, value in load_file(file).items()}
    kinds = {name: tensor.dtype for name, tensor in tensors.items()}
    layer = "model.layers.1."
    for exact in ("lm_head", "model.embed_tokens", f"{layer}block_sparse_moe.gate", f"{layer}input_layernorm"):
        assert kinds[f"{exact}.weight"] == torch.bfloat16
    for small in (f"{layer}self_attn.q_proj", f"{layer}residual_mlp.w2", f"{layer}block_sparse_moe.experts.3.w1"):
        assert kinds[f"{small}.weight"] == torch.float8_e4m3fn
        assert kinds[f"{small}.weight_scale_inv"] == torch.float32
    for file in out.glob("*.safetensors"):
        save_file(load_file(file), tmp_path / "again", metadata={"format": "pt"})
        assert file.read_bytes() == (tmp_path / "again").read_bytes()
    quantization = json.loads((out / "config.json").read_text())["quantization_config"]
    assert quantization["weight_block_size"] == [128, 128]
    assert f"{layer}block_sparse_moe.gate" in quantization["modules_to_not_convert"]
