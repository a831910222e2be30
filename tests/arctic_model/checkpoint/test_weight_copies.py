"""Weights of a checkpoint in bfloat16: safetensors' own reader agrees, value for value."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import Checkpoint, open_weights
from arctic_model.checkpoint.weight_copies import copy_weights
from arctic_model.model import ArcticModel
from arctic_model.presets import preset


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights with selection biases that bfloat16 would round."""
    model = ArcticModel(preset("tiny", {"router_bias": True}), seed=1)
    model.set_router_biases(torch.linspace(-1.0, 1.0, 8).view(2, 4) / 3)
    model.save_pretrained(tmp_path / "step-000000004")
    return tmp_path / "step-000000004"


def test_a_copy_has_the_rounded_weights_and_the_exact_biases(checkpoint: Path, tmp_path: Path) -> None:
    copy_weights(checkpoint, tmp_path / "weights" / "copy")
    names = json.loads((tmp_path / "weights" / "copy" / "model.safetensors.index.json").read_text())["weight_map"]
    assert names == json.loads((checkpoint / "model.safetensors.index.json").read_text())["weight_map"]
    for name, file in names.items():
        whole, result = load_file(checkpoint / file)[name], load_file(tmp_path / "weights" / "copy" / file)[name]
        is_bias = name.endswith("e_score_correction_bias")
        assert result.dtype == (torch.float32 if is_bias else torch.bfloat16)
        assert torch.equal(result, whole if is_bias else whole.bfloat16()), name
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["copy"]


def test_a_copy_is_a_model_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    copy_weights(checkpoint, tmp_path / "copy")
    assert Checkpoint(tmp_path / "copy").config == Checkpoint(checkpoint).config
    rounded, ids = ArcticModel.from_pretrained(checkpoint), torch.arange(32).view(2, 16)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.bfloat16())
        assert torch.equal(ArcticModel.from_pretrained(tmp_path / "copy")(ids), rounded(ids))


def test_a_damaged_copy_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy_weights(checkpoint, tmp_path / "copy")
    assert open_weights(tmp_path / "copy").names
    file = sorted((tmp_path / "copy").glob("model-*"))[1]
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match=f"{file.name}: not as it was written"):
        open_weights(tmp_path / "copy")


def test_a_copy_that_is_there_is_left(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    copy_weights(checkpoint, tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []
