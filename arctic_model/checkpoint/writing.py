"""Writing a checkpoint: every worker its own stretches, to their places in files that all share."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from arctic_model.checkpoint.reading import (
    CONFIG,
    INDEX,
    STATE,
    WEIGHTS_INDEX,
    TrainingState,
    file_sha256,
)
from arctic_model.checkpoint.tensor_files import Piece, TensorFile, write_pieces
from arctic_model.checkpoint.tensor_names import WEIGHT, Stretch, router_biases, unstacked
from arctic_model.checkpoint.workers import ALONE, CheckpointError, Progress, Workers
from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel


class Place(NamedTuple):
    """Number of the file, and the byte at which the flat parameter begins."""

    file: int
    offset: int


_Content = tuple[str, str, Tensor]
"""Parameter, kind, and a tensor of its shape."""


@dataclass(frozen=True)
class Layout:
    """The files of a checkpoint, weights' before the optimizer's, and where in them each (parameter, kind) lies."""

    files: Sequence[TensorFile]
    places: Mapping[tuple[str, str], Place]


def layout(config: ArcticConfig, state_names: Callable[[str], Sequence[str]]) -> Layout:
    """Where everything of a model lies, given what the optimizer keeps of each parameter.

    Two files, weights and optimizer, for the embeddings, each layer, norm and head. All experts of a parameter lie
    one after the other, so a stack is one stretch.
    """
    with torch.device("meta"):
        model = ArcticModel(config)
    weights: dict[str, list[_Content]] = {}
    states: dict[str, list[_Content]] = {}
    for name, parameter in model.named_parameters():
        for kind in (WEIGHT, *state_names(name)):
            (weights if kind == WEIGHT else states).setdefault(_section(name), []).append((name, kind, parameter))
    for name, bias in router_biases(model):
        weights[_section(name)].append((name, WEIGHT, bias))
    files: list[TensorFile] = []
    places: dict[tuple[str, str], Place] = {}
    for title, contents in (("model", weights), ("optimizer", states)):
        for number, content in enumerate(contents.values()):
            file = TensorFile(f"{title}-{number + 1:05d}-of-{len(contents):05d}.safetensors", _shapes(content, config))
            for name, kind, tensor in content:
                first, _ = next(unstacked(name, tensor, range(config.num_experts)))
                places[name, kind] = Place(len(files), file.offsets[_stored(first, kind)])
            files.append(file)
    return Layout(files, places)


def write_checkpoint(
    folder: Path,
    config: ArcticConfig,
    state: TrainingState,
    layout: Layout,
    share: Iterable[Stretch],
    workers: Workers = ALONE,
    before_commit: Callable[[], None] = lambda: None,
) -> None:
    """Write this worker's `share` and commit the checkpoint as `folder` once every worker's part is on disk.

    All of `workers` call in step; over all of them every value must come once. Worker 0 calls `before_commit` before
    the checkpoint can be seen. Raises CheckpointError where the parts do not make up the files, and what the system
    says where a file cannot be written.
    """
    scratch = folder.with_name(f".{folder.name}.{workers.token}")
    written = workers.sum(workers.together(lambda progress: _write_share(scratch, layout, share, workers, progress)))
    digests = workers.together(lambda progress: _digests(scratch, layout, written.tolist(), workers, progress))
    names = [file.name for file in layout.files]
    known = {name: bytes(digest).hex() for name, digest in zip(names, workers.sum(digests).tolist(), strict=True)}

    def commit() -> None:
        _write_descriptions(scratch, config, state, layout, known)
        before_commit()
        scratch.rename(folder)
        _flush(folder.parent)

    workers.only_first(commit)


def _section(name: str) -> str:
    """What shares a file: the embeddings, a layer, norm and head."""
    if ".layers." in name:
        return name.split(".")[2]
    return "embeddings" if "embed_tokens" in name else "head"


def _shapes(content: list[_Content], config: ArcticConfig) -> dict[str, tuple[int, ...]]:
    return {
        _stored(outside, kind): tuple(part.shape)
        for name, kind, tensor in content
        for outside, part in unstacked(name, tensor, range(config.num_experts))
    }


def _stored(outside: str, kind: str) -> str:
    return outside if kind == WEIGHT else f"{outside}.{kind}"


def _write_share(
    scratch: Path, layout: Layout, share: Iterable[Stretch], workers: Workers, progress: Progress
) -> Tensor:
    """Returns the bytes written to each file. Worker 0 writes the headers too."""
    scratch.mkdir(parents=True, exist_ok=True)
    pieces: list[list[Piece]] = [[] for _ in layout.files]
    for stretch in share:
        number, offset = layout.places[stretch.name, stretch.kind]
        pieces[number].append((offset + 4 * stretch.start, stretch.values))
    written = [
        write_pieces(scratch / file.name, found, progress, b"" if workers.rank else file.header)
        for file, found in zip(layout.files, pieces, strict=True)
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
                "does not hold what the layout expects."
            )
        digest = file_sha256(scratch / file.name, progress)
        digests[number] = torch.frombuffer(bytearray.fromhex(digest), dtype=torch.uint8)
    return digests


def _write_descriptions(
    scratch: Path, config: ArcticConfig, state: TrainingState, layout: Layout, digests: dict[str, str]
) -> None:
    names = {name: file.name for file in layout.files if file.name.startswith("model") for name in file.shapes}
    for file, content in (
        (CONFIG, config.to_huggingface()),
        (WEIGHTS_INDEX, {"metadata": {}, "weight_map": names}),
        (STATE, asdict(state)),
    ):
        _write_json(scratch / file, content)
        digests[file] = file_sha256(scratch / file, Progress())
    _write_json(scratch / INDEX, digests)
    _flush(scratch)


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
    _flush(file)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
