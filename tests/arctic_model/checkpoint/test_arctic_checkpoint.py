"""Checkpoints: whole or not at all, the same bytes for the same state, and readable by others."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import (
    Checkpoint,
    Retention,
    TrainingState,
    checkpoint_name,
    checkpoints,
    clear,
    newest_checkpoint,
    prune,
)
from arctic_model.checkpoint.tensors.names import ParameterSlice
from arctic_model.checkpoint.writing import layout, write_checkpoint
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training import history
from arctic_model.training.optimization.settings import Optimization

CONFIG = preset("tiny")
STATES = ("exp_avg", "exp_avg_sq")


def new_model(seed: int = 0) -> ArcticModel:
    return ArcticModel(CONFIG, seed=seed)


def share(model: ArcticModel) -> Iterator[ParameterSlice]:
    """Everything, in stretches of at most 1000 values and in no useful order."""
    for factor, kind in enumerate(("weight", *STATES), 1):
        for name, parameter in reversed(list(model.named_parameters())):
            values = parameter.detach().view(-1) * factor
            yield from (ParameterSlice(name, kind, 1000 * n, part) for n, part in enumerate(values.split(1000)))


def state(step: int, mean_loss: float | None = None) -> TrainingState:
    losses = [] if mean_loss is None else [mean_loss]
    return TrainingState(step, step * 64, [[0.5] * 4] * 2, [[3.0] * 4] * 2, step, [1.5], [], losses)


def write(folder: Path, step: int, mean_loss: float | None = None) -> ArcticModel:
    model = new_model(step)
    locations = layout(new_model(), lambda name: STATES)
    write_checkpoint(folder / checkpoint_name(step), CONFIG, state(step, mean_loss), locations, share(model))
    return model


def test_a_checkpoint_gives_back_weights_moments_and_state(tmp_path: Path) -> None:
    model = write(tmp_path, 7)
    result = newest_checkpoint(tmp_path)
    assert result is not None
    assert (result.config, result.state) == (CONFIG, state(7))
    for name, tensor in model.logical_tensors():
        assert torch.equal(result.read(name), tensor)
        assert torch.equal(result.read(name, "exp_avg"), tensor * 2)
    with pytest.raises(CheckpointError, match="holds no tensor"):
        result.read("lm_head.weight", "momentum_buffer")


def test_any_stretch_of_a_parameter_is_read_alone(tmp_path: Path) -> None:
    model = write(tmp_path, 7)
    result = Checkpoint(tmp_path / checkpoint_name(7))
    for name, parameter in model.named_parameters():
        whole, size = parameter.detach().view(-1), parameter.numel()
        for start, length in ((0, size), (size // 3, size // 2), (size - 1, 1), (size // 4, size // 4)):
            assert torch.equal(result.read_slice(name, "weight", start, length), whole[start : start + length])


def test_a_loaded_model_computes_what_the_written_one_did(tmp_path: Path) -> None:
    model = write(tmp_path, 7)
    loaded = ArcticModel.from_pretrained(tmp_path / checkpoint_name(7))
    ids = torch.arange(20)[None]
    arguments = (ids, ids, torch.zeros_like(ids))
    assert not loaded.training
    assert torch.equal(loaded(*arguments), model(*arguments))


def test_other_engines_find_the_released_models_layout(tmp_path: Path) -> None:
    model = write(tmp_path, 7)
    folder = tmp_path / checkpoint_name(7)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    read = {file.name: load_file(file) for file in folder.glob("model-*-of-00004.safetensors")}
    assert {name: file for file, tensors in read.items() for name in tensors} == index
    for name, tensor in model.logical_tensors():
        assert torch.equal(read[index[name]][name], tensor)
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["num_local_experts"]) == ("arctic", 4)


def test_the_router_biases_are_weights_of_their_own(tmp_path: Path) -> None:
    config = replace(CONFIG, router_bias=True)
    model = ArcticModel(config, seed=0)
    model.set_router_biases(torch.arange(8.0).view(2, 4))
    parts = [ParameterSlice(name, "weight", 0, tensor.detach().view(-1)) for name, tensor in model.state_dict().items()]
    write_checkpoint(tmp_path / "step-1", config, state(1), layout(model, lambda name: ()), parts)
    read = dict(ArcticModel.from_pretrained(tmp_path / "step-1").named_buffers())
    assert [bias.tolist() for bias in read.values()] == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]


def test_each_parameter_has_what_its_optimizer_keeps() -> None:
    files = layout(new_model(), Optimization(optimizer="muon").state_names).files
    stored = {name for file in files for name in file.shapes}
    assert {name.rsplit(".", 1)[1] for name in stored if ".experts.0.w1" in name} == {"weight", "momentum_buffer"}
    assert {name.rsplit(".", 1)[1] for name in stored if "lm_head" in name} == {"weight", *STATES}


def test_the_same_state_is_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", 7)
    write(tmp_path / "b", 7)
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*") if file.is_file())
    assert len(files) == 12
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


FILES = [
    "checkpoint.json",
    "config.json",
    "model-00002-of-00004.safetensors",
    "model.safetensors.index.json",
    "optimizer-00004-of-00004.safetensors",
    "training_state.json",
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_used(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 7)
    write(tmp_path, 8)
    file = tmp_path / checkpoint_name(8) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x80
    file.write_bytes(content[:40] if damage == "truncate" else content)
    if damage == "remove":
        file.unlink()
    result = newest_checkpoint(tmp_path)
    assert result is not None
    assert result.state.step == 7
    assert name in caplog.text or name == "checkpoint.json"
    with pytest.raises(CheckpointError, match=checkpoint_name(8)) as refused:
        Checkpoint(tmp_path / checkpoint_name(8)).verify()
    (tmp_path / checkpoint_name(7) / "config.json").write_text("{}")
    with pytest.raises(CheckpointError) as all_refused:
        newest_checkpoint(tmp_path)
    assert str(all_refused.value) == str(refused.value)


def test_parts_that_do_not_make_up_the_files_are_no_checkpoint(tmp_path: Path) -> None:
    parts = [segment for segment in share(new_model()) if segment.name != "model.norm.weight"]
    with pytest.raises(CheckpointError, match=r"model-00004-of-00004.safetensors: the workers wrote \d+ bytes of"):
        write_checkpoint(tmp_path / "step-3", CONFIG, state(3), layout(new_model(), lambda name: STATES), parts)
    assert newest_checkpoint(tmp_path) is None


class Killed(BaseException):
    """Nothing of ours runs after it, as after SIGKILL."""


@contextmanager
def killed_at(last: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Calls that change the disk, by name; call number `last` and all later ones do not happen."""
    calls: list[str] = []

    def counted(name: str, call: Callable) -> Callable:
        def counting(*args: object, **options: object) -> object:
            if len(calls) == last:
                raise Killed
            calls.append(name)
            return call(*args, **options)

        return counting

    with monkeypatch.context() as patch:
        for name in ("mkdir", "pwrite", "fsync", "rename", "unlink", "rmdir"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        yield calls


def replace_seven_by_eight(folder: Path, monkeypatch: pytest.MonkeyPatch, last: float = float("inf")) -> list[str]:
    model = new_model(8)
    parts = [ParameterSlice(name, "weight", 0, tensor.detach().view(-1)) for name, tensor in model.named_parameters()]
    locations = layout(model, lambda name: ())
    with killed_at(last, monkeypatch) as calls:
        write_checkpoint(folder / checkpoint_name(8), CONFIG, state(8), locations, parts)
        prune(folder, Retention(last=1))
    return calls


def test_whatever_call_a_writer_dies_in_there_is_a_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the calls that write a checkpoint and remove the previous one does not happen, each in turn."""
    write(tmp_path / "before", 7)
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path / "before", whole)
    calls = replace_seven_by_eight(whole, monkeypatch)
    assert {"mkdir", "pwrite", "fsync", "rename", "unlink", "rmdir"} == set(calls)
    left = []
    for last in range(len(calls)):
        folder = tmp_path / f"{last}"
        shutil.copytree(tmp_path / "before", folder, copy_function=os.link)
        with pytest.raises(Killed):
            replace_seven_by_eight(folder, monkeypatch, last)
        result = newest_checkpoint(folder)
        assert result is not None
        left.append(result.state.step)
        clear(folder, result.folder)
        assert {path.name for path in folder.iterdir()} <= {checkpoint_name(7), checkpoint_name(left[-1])}
    committed = calls.index("rename") + 1
    assert left == [7] * committed + [8] * (len(calls) - committed)


def test_the_last_and_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    for step, loss in ((9, 2.0), (10, 1.0), (11, 1.5), (100, None), (101, 3.0)):
        write(tmp_path, step, loss)
    prune(tmp_path, Retention(last=2, best=2))
    assert [folder.name for folder in checkpoints(tmp_path)] == [checkpoint_name(n) for n in (10, 11, 100, 101)]
    prune(tmp_path, Retention(last=2, best=1))
    assert [folder.name for folder in checkpoints(tmp_path)] == [checkpoint_name(n) for n in (10, 100, 101)]
    (tmp_path / checkpoint_name(10) / "training_state.json").write_text("{")
    prune(tmp_path, Retention(last=1, best=1))
    assert [folder.name for folder in checkpoints(tmp_path)] == [checkpoint_name(101)]


def test_what_was_refused_is_cleared_before_it_counts_as_kept(tmp_path: Path) -> None:
    for step in (7, 8):
        write(tmp_path, step)
    (tmp_path / checkpoint_name(8) / "config.json").unlink()
    result = newest_checkpoint(tmp_path)
    assert result is not None
    clear(tmp_path, result.folder)
    assert [folder.name for folder in checkpoints(tmp_path)] == [checkpoint_name(7)]


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 7)
    (tmp_path / checkpoint_name(7) / "training_state.json").write_text('{"step": 7}')
    with pytest.raises(CheckpointError, match=r"training_state.json: of another version"):
        _ = Checkpoint(tmp_path / checkpoint_name(7)).state


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
