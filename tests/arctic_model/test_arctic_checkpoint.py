"""Checkpoints: whole or not at all, the same bytes for the same state, and readable by others."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arctic_model import history
from arctic_model.checkpoint import (
    Checkpoint,
    CheckpointError,
    TrainingState,
    checkpoint_name,
    checkpoints,
    load_model,
    newest_checkpoint,
    remove_all_but,
    write_checkpoint,
)
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.tensor_names import logical_tensors
from arctic_model.weight_init import initialize

CONFIG = preset("tiny")


def new_model(seed: int = 0) -> ArcticModel:
    model = ArcticModel(CONFIG)
    initialize(model, seed)
    return model


def write(folder: Path, step: int) -> ArcticModel:
    """A checkpoint in two weight files and one of moments."""
    model = new_model(step)
    tensors = dict(logical_tensors(model))
    names = sorted(tensors)
    parts = [
        ("model", {name: tensors[name] for name in names[:10]}),
        ("model", {name: tensors[name] for name in names[10:]}),
        ("optimizer", {f"{name}.exp_avg": tensors[name] * 2 for name in names}),
    ]
    state = TrainingState(step, step * 64, [[0.5] * 4] * 2, [[3] * 4] * 2)
    write_checkpoint(folder / checkpoint_name(step), CONFIG, state, parts)
    return model


def test_a_checkpoint_gives_back_weights_moments_and_state(tmp_path: Path) -> None:
    model = write(tmp_path, 7)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert (found.config, found.state.step, found.state.tokens) == (CONFIG, 7, 448)
    for name, tensor in logical_tensors(model):
        assert torch.equal(found.read(name), tensor)
        assert torch.equal(found.read(name, "exp_avg"), tensor * 2)
    with pytest.raises(CheckpointError, match="holds no tensor"):
        found.read("lm_head.weight", "exp_avg_sq")


def test_a_loaded_model_computes_what_the_written_one_did(tmp_path: Path) -> None:
    model = write(tmp_path, 7)
    loaded = load_model(tmp_path / checkpoint_name(7))
    ids = torch.arange(20)[None]
    arguments = (ids, ids, torch.zeros_like(ids))
    assert not loaded.training
    assert torch.equal(loaded(*arguments), model(*arguments))


def test_other_engines_find_the_released_models_layout(tmp_path: Path) -> None:
    write(tmp_path, 7)
    folder = tmp_path / checkpoint_name(7)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    held = {name: file.name for file in folder.glob("model-*-of-00002.safetensors") for name in load_file(file)}
    assert held == index
    assert set(held) == {name for name, _ in logical_tensors(new_model())}
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["num_local_experts"]) == ("arctic", 4)


def test_the_same_state_is_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", 7)
    write(tmp_path / "b", 7)
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*") if file.is_file())
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "index"])
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 7)
    write(tmp_path, 8)
    name = "checkpoint.json" if damage == "index" else "optimizer-00001-of-00001.safetensors"
    file = tmp_path / checkpoint_name(8) / name
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    file.write_bytes(content[:40] if damage in ("truncate", "index") else content)
    if damage == "remove":
        file.unlink()
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state.step == 7
    with pytest.raises(CheckpointError, match=name):
        Checkpoint(tmp_path / checkpoint_name(8)).verify()
    (tmp_path / checkpoint_name(7) / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=name):
        newest_checkpoint(tmp_path)


def test_a_writer_that_dies_leaves_no_checkpoint(tmp_path: Path) -> None:
    def parts():
        yield "model", dict(logical_tensors(new_model()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path / checkpoint_name(3), CONFIG, TrainingState(3, 3, [], []), parts())
    assert newest_checkpoint(tmp_path) is None
    remove_all_but(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


def test_only_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        write(tmp_path, step)
    remove_all_but(tmp_path, 2)
    assert [folder.name for folder in checkpoints(tmp_path)] == [checkpoint_name(10), checkpoint_name(100)]


def test_history_is_cut_to_its_checkpoint_even_in_the_middle_of_a_line(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    history.append(file, [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    history.append(file, [{"step": 3, "loss": 0.5}])
    with file.open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert [record["step"] for record in history.read(file, 9)] == [1, 2, 3]
    assert [record["step"] for record in history.truncate(file, 2)] == [1, 2]
    history.append(file, [{"step": 3, "loss": 0.25}])
    assert [record["loss"] for record in history.read(file, 9)] == [2.0, 1.0, 0.25]
    assert history.truncate(tmp_path / "none.jsonl", 0) == []
