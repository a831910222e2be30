"""Writing a checkpoint: every worker writes its own slices to their positions in files that all share."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.model_folder import CONFIG, WEIGHTS_INDEX
from arctic_model.checkpoint.reading import INDEX, STATE, TrainingState, file_sha256
from arctic_model.checkpoint.tensors.files import FileSlice, TensorFile, write_slices
from arctic_model.checkpoint.tensors.names import WEIGHT, ParameterSlice, unstacked
from arctic_model.checkpoint.workers import ALONE, Progress, Workers
from arctic_model.config import ArcticConfig


class TensorPosition(NamedTuple):
    """Number of the file that holds a flat parameter, and the byte at which it begins."""

    file: int
    offset: int


class _Entry(NamedTuple):
    """A tensor that a file holds: parameter, kind, and a tensor of its shape."""

    name: str
    kind: str
    tensor: Tensor


@dataclass(frozen=True)
class Layout:
    """The files of a checkpoint, weights before optimizer, and the position of each (parameter, kind)."""

    files: Sequence[TensorFile]
    positions: Mapping[tuple[str, str], TensorPosition]


def layout(model: nn.Module, state_names: Callable[[str], Sequence[str]]) -> Layout:
    """The files that hold `model` and its optimizer state.

    Two files, weights and optimizer, for each of: the embeddings, every layer, and norm with head. All experts of a
    parameter lie one after the other, so a stack is one contiguous slice.

    Args:
        model: a model that holds all experts, on any device. Only names and shapes are read, of the parameters that
            require a gradient.
        state_names: the kinds of tensors that the optimizer stores for a parameter, by the parameter's name.
    """
    weights: dict[str, list[_Entry]] = {}
    states: dict[str, list[_Entry]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        for kind in (WEIGHT, *state_names(name)):
            sections = weights if kind == WEIGHT else states
            sections.setdefault(_section(name), []).append(_Entry(name, kind, parameter))
    for name, bias in model.named_buffers():
        weights[_section(name)].append(_Entry(name, WEIGHT, bias))
    files: list[TensorFile] = []
    positions: dict[tuple[str, str], TensorPosition] = {}
    for title, sections in (("model", weights), ("optimizer", states)):
        for number, entries in enumerate(sections.values()):
            file = TensorFile(f"{title}-{number + 1:05d}-of-{len(sections):05d}.safetensors", _shapes(entries))
            for entry in entries:
                positions[entry.name, entry.kind] = TensorPosition(len(files), file.offsets[_stored_names(entry)[0]])
            files.append(file)
    return Layout(files, positions)


def write_checkpoint(
    folder: Path,
    config: ArcticConfig,
    state: TrainingState | None,
    layout: Layout,
    slices: Iterable[ParameterSlice],
    workers: Workers = ALONE,
    before_commit: Callable[[], None] = lambda: None,
) -> None:
    """Write this worker's slices, and commit the checkpoint as `folder` once those of every worker are on disk.

    All of `workers` call in step.

    Args:
        folder: the checkpoint; it appears whole or not at all.
        config: the architecture.
        state: the training state to resume from. None for a checkpoint of weights alone.
        layout: the files.
        slices: over all workers every value must come exactly once.
        workers: the processes that write together.
        before_commit: worker 0 calls it right before the checkpoint becomes visible.

    Raises:
        CheckpointError: if the slices do not fill the files.
        OSError: if a file cannot be written.
    """
    scratch = folder.with_name(f".{folder.name}.{workers.token}")
    written = workers.sum(workers.together(lambda progress: _write_slices(scratch, layout, slices, workers, progress)))
    digests = workers.together(lambda progress: _digests(scratch, layout, written.tolist(), workers, progress))
    names = [file.name for file in layout.files]
    hashes = {name: bytes(digest).hex() for name, digest in zip(names, workers.sum(digests).tolist(), strict=True)}

    def commit() -> None:
        _write_descriptions(scratch, config, state, layout, hashes)
        before_commit()
        scratch.rename(folder)
        flush(folder.parent)

    workers.only_first(commit)


def _section(name: str) -> str:
    """The part of the model that shares a file: embeddings, a layer, or norm and head."""
    if ".layers." in name:
        return name.split(".")[2]
    return "embeddings" if "embed_tokens" in name else "head"


def _shapes(entries: list[_Entry]) -> dict[str, tuple[int, ...]]:
    return {
        stored: tuple(part.shape)
        for entry in entries
        for stored, (_, part) in zip(_stored_names(entry), _unstacked(entry), strict=True)
    }


def _stored_names(entry: _Entry) -> list[str]:
    """Names in the file: those of the released model, with the kind behind them for optimizer state."""
    suffix = "" if entry.kind == WEIGHT else f".{entry.kind}"
    return [name + suffix for name, _ in _unstacked(entry)]


def _unstacked(entry: _Entry) -> Iterator[tuple[str, Tensor]]:
    return unstacked(entry.name, entry.tensor, range(len(entry.tensor)))


def _write_slices(
    scratch: Path, layout: Layout, slices: Iterable[ParameterSlice], workers: Workers, progress: Progress
) -> Tensor:
    """Returns the bytes written to each file. Worker 0 writes the headers too."""
    scratch.mkdir(parents=True, exist_ok=True)
    by_file: list[list[FileSlice]] = [[] for _ in layout.files]
    for part in slices:
        number, offset = layout.positions[part.name, part.kind]
        by_file[number].append((offset + 4 * part.start, part.values))
    written = [
        write_slices(scratch / file.name, parts, progress, b"" if workers.rank else file.header)
        for file, parts in zip(layout.files, by_file, strict=True)
    ]
    return torch.tensor(written, dtype=torch.int64)


def _digests(scratch: Path, layout: Layout, written: list[int], workers: Workers, progress: Progress) -> Tensor:
    """sha256 [files, 32] of the files that fall to this worker, zeros for the others'."""
    digests = torch.zeros(len(layout.files), 32, dtype=torch.uint8)
    for number in range(workers.rank, len(layout.files), workers.size):
        file = layout.files[number]
        if written[number] != file.num_bytes:
            raise CheckpointError(
                f"{scratch / file.name}: the workers wrote {written[number]} bytes of {file.num_bytes}. The optimizer "
                "does not hold the bytes that the layout expects."
            )
        digest = file_sha256(scratch / file.name, progress)
        digests[number] = torch.frombuffer(bytearray.fromhex(digest), dtype=torch.uint8)
    return digests


def _write_descriptions(
    scratch: Path, config: ArcticConfig, state: TrainingState | None, layout: Layout, digests: dict[str, str]
) -> None:
    names = {name: file.name for file in layout.files if file.name.startswith("model") for name in file.shapes}
    contents: dict[str, object] = {
        CONFIG: config.to_huggingface(),
        WEIGHTS_INDEX: {"metadata": {}, "weight_map": names},
    }
    if state is not None:
        contents[STATE] = asdict(state)
    for file, content in contents.items():
        write_json(scratch / file, content)
        digests[file] = file_sha256(scratch / file, Progress())
    write_json(scratch / INDEX, digests)
    flush(scratch)


def write_json(file: Path, value: object) -> None:
    """Write a JSON file to the disk."""
    file.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
    flush(file)


def flush(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
