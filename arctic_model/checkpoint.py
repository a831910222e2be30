"""Checkpoints: safetensors and JSON, one tensor per name of the released model, for any number of workers.

    <folder>/config.json                              the architecture in Hugging Face's words
    <folder>/model.safetensors.index.json             name of tensor -> file
    <folder>/model-NNNNN-of-NNNNN.safetensors         float32 weights: embeddings, each layer, norm and head
    <folder>/optimizer-NNNNN-of-NNNNN.safetensors     `<tensor>.exp_avg`, `<tensor>.exp_avg_sq`
    <folder>/training_state.json                      step, tokens, router load
    <folder>/checkpoint.json                          sha256 of every other file

A checkpoint is written beside its name, flushed, and renamed: it exists whole or not at all. Other engines read the
first three as a released model.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.tensor_names import logical_tensors

INDEX = "checkpoint.json"
STATE = "training_state.json"
WEIGHTS_INDEX = "model.safetensors.index.json"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used: the message names the file and the mend."""


@dataclass(frozen=True)
class TrainingState:
    """What training needs besides tensors. `load` [L, E]: assignments per token and expert in the last step;
    `assignments` [L, E]: since the checkpoint before."""

    step: int
    tokens: int
    load: list[list[float]]
    assignments: list[list[int]]


Part = tuple[str, Mapping[str, Tensor]]
"""One file's worth: "model" or "optimizer", and tensors by name."""


def write_checkpoint(folder: Path, config: ArcticConfig, state: TrainingState, parts: Iterable[Part]) -> None:
    """Write a checkpoint of `parts`, which are written one by one as they come, and commit it as `folder`."""
    scratch = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    scratch.mkdir(parents=True)
    names = _write_parts(scratch, parts)
    _write_json(scratch / "config.json", config.to_huggingface())
    _write_json(scratch / WEIGHTS_INDEX, {"metadata": {}, "weight_map": names})
    _write_json(scratch / STATE, asdict(state))
    _write_json(scratch / INDEX, {file.name: _sha256(file) for file in scratch.iterdir()})
    for file in scratch.iterdir():
        _flush(file)
    if folder.exists():
        # Only a damaged one is written again: training went on from the one before it.
        shutil.rmtree(folder)
    scratch.rename(folder)
    _flush(folder.parent)


class Checkpoint:
    """A committed checkpoint, read piece by piece. Raises CheckpointError where a piece cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def state(self) -> TrainingState:
        return TrainingState(**_read_json(self.folder / STATE))

    @cached_property
    def config(self) -> ArcticConfig:
        return ArcticConfig.from_huggingface(_read_json(self.folder / "config.json"))

    def verify(self) -> "Checkpoint":
        """Hash every file again. Raises CheckpointError naming the first that is not as it was written."""
        for name, digest in sorted(_read_json(self.folder / INDEX).items()):
            file = self.folder / name
            if not file.is_file() or _sha256(file) != digest:
                raise CheckpointError(f"{file}: not as it was written. Delete {self.folder} to use the one before.")
        return self

    def read(self, name: str, kind: str = "weight") -> Tensor:
        """A tensor by the released model's name: its "weight", or a moment, "exp_avg" or "exp_avg_sq"."""
        stored = name if kind == "weight" else f"{name}.{kind}"
        if stored not in self._files:
            raise CheckpointError(f"{self.folder}: holds no tensor {stored}. Train again from the start.")
        return torch.from_numpy(self._files[stored].get_tensor(stored))

    @cached_property
    def _files(self) -> dict[str, safe_open]:
        opened = [safe_open(file, framework="numpy") for file in sorted(self.folder.glob("*.safetensors"))]
        return {name: file for file in opened for name in file.keys()}  # noqa: SIM118 - not a dict


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The valid checkpoint of `folder` with the most steps. Raises CheckpointError where some are there and all
    are bad, naming the newest one's bad file."""
    first_error = None
    for candidate in sorted(checkpoints(folder), reverse=True):
        try:
            return Checkpoint(candidate).verify()
        except CheckpointError as error:
            first_error = first_error or error
    if first_error:
        raise first_error
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Committed checkpoints of `folder`, oldest first."""
    return sorted(folder.glob("step-*"))


def checkpoint_name(step: int) -> str:
    return f"step-{step:09d}"


def remove_all_but(folder: Path, keep: int) -> None:
    """Remove checkpoints older than the last `keep`, and what a killed writer left."""
    for old in checkpoints(folder)[:-keep] + list(folder.glob(".step-*")):
        shutil.rmtree(old)


def load_model(folder: Path) -> ArcticModel:
    """The model of a checkpoint in evaluation mode, all experts in this process."""
    checkpoint = Checkpoint(folder).verify()
    model = ArcticModel(checkpoint.config)
    with torch.no_grad():
        for name, tensor in logical_tensors(model):
            tensor.copy_(checkpoint.read(name))
    return model.eval()


def _write_parts(scratch: Path, parts: Iterable[Part]) -> dict[str, str]:
    """Write each part to its file. Returns file by name of weight."""
    written: dict[str, list[list[str]]] = {"model": [], "optimizer": []}
    for kind, tensors in parts:
        arrays = {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in tensors.items()}
        save_file(arrays, scratch / f"{kind}-{len(written[kind])}", metadata={"format": "pt"})
        written[kind].append(sorted(tensors))
    for kind, files in written.items():
        for number in range(len(files)):
            (scratch / f"{kind}-{number}").rename(scratch / _file_name(kind, number, len(files)))
    weights = written["model"]
    return {name: _file_name("model", i, len(weights)) for i, names in enumerate(weights) for name in names}


def _file_name(kind: str, number: int, total: int) -> str:
    return f"{kind}-{number + 1:05d}-of-{total:05d}.safetensors"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")


def _read_json(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: unreadable ({error}). Delete {file.parent} to use the one before.") from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
