"""Copies of a checkpoint's weights in bfloat16: with AdamW a sixth of its bytes, with Muon a quarter.

    <folder>/config.json                              as in the checkpoint, with its dtype
    <folder>/model.safetensors.index.json             as in the checkpoint
    <folder>/training_state.json                      as in the checkpoint, if it has one: step, tokens, router load
    <folder>/model-NNNNN-of-NNNNN.safetensors         bfloat16, except the router's selection biases
    <folder>/checkpoint.json                          sha256 of every other file

A copy is a checkpoint that training cannot resume from, and a Hugging Face directory.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from arctic_model.checkpoint.model_folder import CONFIG, WEIGHTS_INDEX, read_json
from arctic_model.checkpoint.reading import INDEX, STATE, file_sha256
from arctic_model.checkpoint.tensors.files import FileSlice, TensorFile, mapped, write_slices
from arctic_model.checkpoint.tensors.safetensors_header import read_header
from arctic_model.checkpoint.tensors.shapes import ROUTER_BIAS
from arctic_model.checkpoint.workers import ALONE, Progress, Workers
from arctic_model.checkpoint.writing import flush, write_json


def copy_weights(checkpoint: Path, folder: Path, workers: Workers = ALONE) -> None:
    """Write the weights of `checkpoint` to `folder`, unless they are there: it appears whole or not at all.

    All of `workers` call in step, and each converts some of the files, a tensor in memory at a time. Raises OSError if
    a file cannot be written.
    """
    if int(workers.from_first(torch.tensor(int(folder.is_dir())))):
        return
    scratch = folder.with_name(f".{folder.name}.{workers.token}")
    sources = sorted(checkpoint.glob("model-*.safetensors"))
    digests = workers.sum(workers.together(lambda progress: _convert(sources, scratch, workers, progress)))
    hashes = {file.name: bytes(digest).hex() for file, digest in zip(sources, digests.tolist(), strict=True)}
    workers.only_first(lambda: _commit(checkpoint, scratch, folder, hashes))


def _convert(sources: Sequence[Path], scratch: Path, workers: Workers, progress: Progress) -> Tensor:
    """Write this worker's part of the files. Returns sha256 [files, 32], zeros for those of other workers."""
    scratch.mkdir(parents=True, exist_ok=True)
    digests = torch.zeros(len(sources), 32, dtype=torch.uint8)
    for number in range(workers.rank, len(sources), workers.size):
        source, file = sources[number], scratch / sources[number].name
        shapes = {name: stored.shape for name, stored in read_header(source).items()}
        target = TensorFile(source.name, shapes, {name: "BF16" for name in shapes if not name.endswith(ROUTER_BIAS)})
        write_slices(file, _converted(source, target), progress, target.header)
        digests[number] = torch.frombuffer(bytearray.fromhex(file_sha256(file, progress)), dtype=torch.uint8)
    return digests


def _converted(source: Path, target: TensorFile) -> Iterator[FileSlice]:
    for name, stored in read_header(source).items():
        values = mapped(stored).view(-1)
        yield target.offsets[name], values if name.endswith(ROUTER_BIAS) else values.to(torch.bfloat16)


def _commit(checkpoint: Path, scratch: Path, folder: Path, hashes: dict[str, str]) -> None:
    config = read_json(checkpoint / CONFIG) | {"torch_dtype": "bfloat16"}
    as_they_are = [name for name in (WEIGHTS_INDEX, STATE) if (checkpoint / name).is_file()]
    for name, content in ((CONFIG, config), *((name, read_json(checkpoint / name)) for name in as_they_are)):
        write_json(scratch / name, content)
        hashes[name] = file_sha256(scratch / name, Progress())
    write_json(scratch / INDEX, hashes)
    flush(scratch)
    scratch.rename(folder)
    flush(folder.parent)
