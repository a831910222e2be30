"""A model by itself: its initial weights, its defaults, and its way to a folder and back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.formats import FORMATS
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.moe.sparse_moe import SparseMoE
from arctic_model.presets import preset
from tests.kit.tokenizers import write_byte_tokenizer

CONFIG = preset("tiny", {"init_std": 0.2})
BIASED = preset("tiny", {"router_bias": True})


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("new", [ArcticModel, SparseMoE])
def test_initial_weights_come_from_the_seed_or_from_torchs_generator(new: type) -> None:
    assert same(new(CONFIG, seed=3), new(CONFIG, seed=3))
    assert not same(new(CONFIG, seed=3), new(CONFIG, seed=4))
    torch.manual_seed(5)
    first, second = new(CONFIG), new(CONFIG)
    torch.manual_seed(5)
    assert same(first, new(CONFIG))
    assert not same(first, second)


@pytest.mark.parametrize("new", [ArcticModel, SparseMoE])
def test_every_weight_is_initialised(new: type) -> None:
    """Matrices of N(0, 0.2^2): over 500 of their elements the mean is within 5 standard errors."""
    for name, tensor in new(CONFIG, seed=0).state_dict().items():
        if tensor.dim() == 1:
            assert torch.equal(tensor, torch.ones_like(tensor)), name
        else:
            assert float(tensor.std()) == pytest.approx(0.2, rel=0.2), name
            assert abs(float(tensor.mean())) < 5 * 0.2 / tensor.numel() ** 0.5, name


def test_the_initial_experts_of_a_worker_are_those_of_the_whole_block() -> None:
    whole, second = SparseMoE(CONFIG, seed=1), SparseMoE(CONFIG, ExpertGroup(size=2, rank=1), seed=1)
    assert torch.equal(second.experts.w2, whole.experts.w2[2:])
    assert torch.equal(second.gate.weight, whole.gate.weight)


def test_ids_alone_are_one_document_from_position_0() -> None:
    model = ArcticModel(CONFIG, seed=0)
    ids = torch.arange(24).view(2, 12)
    assert torch.equal(model(ids), model(ids, torch.arange(12).repeat(2, 1), torch.zeros_like(ids)))


def test_with_caches_positions_go_on_where_the_cache_ends() -> None:
    model = ArcticModel(CONFIG, seed=0)
    ids = torch.arange(12)[None]
    caches = model.new_caches(12)
    parts = [model(ids[:, :7], caches=caches), model(ids[:, 7:], caches=caches)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=1e-5, rtol=1e-4)


def test_a_saved_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = ArcticModel(BIASED, seed=0)
    model.set_router_biases(torch.randn(2, 4))
    model.save_pretrained(tmp_path / "some" / "folder")
    loaded = ArcticModel.from_pretrained(tmp_path / "some" / "folder")
    assert same(model, loaded)
    assert loaded.config == BIASED
    assert not loaded.training


def test_a_saved_model_is_safetensors_under_the_released_names(tmp_path: Path) -> None:
    model = ArcticModel(CONFIG, seed=0)
    model.save_pretrained(tmp_path / "saved")
    assert {file.suffix for file in (tmp_path / "saved").iterdir()} == {".safetensors", ".json"}
    index = json.loads((tmp_path / "saved" / "model.safetensors.index.json").read_text())["weight_map"]
    for name, tensor in model.logical_tensors():
        assert torch.equal(load_file(tmp_path / "saved" / index[name])[name], tensor)


def test_weights_come_in_the_dtype_asked_for_and_biases_in_float32(tmp_path: Path) -> None:
    model = ArcticModel(BIASED, seed=0)
    model.set_router_biases(torch.full((2, 4), 0.001))
    model.save_pretrained(tmp_path / "saved")
    loaded = ArcticModel.from_pretrained(tmp_path / "saved", dtype=torch.bfloat16)
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name).bfloat16()), name
    assert all(torch.equal(bias, torch.full((4,), 0.001)) for bias in loaded.buffers())


@pytest.mark.parametrize(("stored", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_weights_may_come_in_the_dtype_of_their_files(tmp_path: Path, stored: str, expected: torch.dtype) -> None:
    """Biases of routers are float32 in either."""
    ArcticModel(BIASED, seed=0).save_pretrained(tmp_path / "saved")
    write_byte_tokenizer(tmp_path / "saved")
    (tmp_path / "export").mkdir()
    FORMATS["huggingface"].write(Checkpoint(tmp_path / "saved"), tmp_path / "saved", tmp_path / "export", stored)
    assert ArcticModel.from_pretrained(tmp_path / "export", dtype=None).lm_head.weight.dtype == expected


def test_nothing_is_overwritten_and_no_half_of_a_model_is_saved(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(CheckpointError, match="exists already"):
        ArcticModel(CONFIG).save_pretrained(tmp_path / "kept")
    with pytest.raises(CheckpointError, match="holds 1 / 2 of the experts"):
        ArcticModel(CONFIG, ExpertGroup(size=2), seed=0).save_pretrained(tmp_path / "half")
    assert [folder.name for folder in tmp_path.iterdir()] == ["kept"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    ArcticModel(CONFIG).save_pretrained(tmp_path / "saved")
    file = sorted((tmp_path / "saved").glob("model-0*"))[1]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=file.name):
        ArcticModel.from_pretrained(tmp_path / "saved")


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path}/config.json: unreadable .*Name a folder with a whole model"):
        ArcticModel.from_pretrained(tmp_path)


def test_a_model_is_made_and_read_without_packages_that_take_long_to_import(tmp_path: Path) -> None:
    ArcticModel(preset("tiny"), seed=0).save_pretrained(tmp_path / "model")
    code = f"""
import sys
from arctic_model import ArcticModel, preset
ArcticModel(preset("tiny"), seed=0)
ArcticModel.from_pretrained({str(tmp_path / "model")!r})
print(*{{"sympy", "numba", "deepspeed", "transformers"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
