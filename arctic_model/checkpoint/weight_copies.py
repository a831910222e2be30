"""Copies of a checkpoint's weights in bfloat16: with AdamW a sixth of its bytes, with Muon a quarter.

    <folder>/config.json                              as in the checkpoint, with its dtype
    <folder>/model.safetensors.index.json             as in the checkpoint
    <folder>/model-NNNNN-of-NNNNN.safetensors         bfloat16, but for the router's selection biases

A copy is a Hugging Face directory, which evaluation, export and `init_from` read.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from arctic_model.checkpoint.model_folder import CONFIG, WEIGHTS_INDEX, read_json
from arctic_model.checkpoint.safetensors_header import read_header
from arctic_model.checkpoint.tensor_files import FileSlice, TensorFile, mapped, write_slices
from arctic_model.checkpoint.workers import ALONE, Progress, Workers
from arctic_model.checkpoint.writing import flush

BIAS = ".e_score_correction_bias"
"""Steps of a selection bias are below the resolution of bfloat16."""


def copy_weights(checkpoint: Path, folder: Path, workers: Workers = ALONE) -> None:
    """Write the weights of `checkpoint` to `folder`, unless they are there: it appears whole or not at all.

    All of `workers` call in step, and each converts some of the files, a tensor in memory at a time. Raises OSError if
    a file cannot be written.
    """
    if int(workers.from_first(torch.tensor(int(folder.is_dir())))):
        return
    scratch = folder.with_name(f".{folder.name}.{workers.token}")
    workers.together(lambda progress: _convert(checkpoint, scratch, workers, progress))
    workers.only_first(lambda: _commit(checkpoint, scratch, folder))


def _convert(checkpoint: Path, scratch: Path, workers: Workers, progress: Progress) -> None:
    """This worker's part of the files."""
    scratch.mkdir(parents=True, exist_ok=True)
    for source in sorted(checkpoint.glob("model-*.safetensors"))[workers.rank :: workers.size]:
        shapes = {name: stored.shape for name, stored in read_header(source).items()}
        target = TensorFile(source.name, shapes, {name: "BF16" for name in shapes if not name.endswith(BIAS)})
        write_slices(scratch / source.name, _converted(source, target), progress, target.header)


def _converted(source: Path, target: TensorFile) -> Iterator[FileSlice]:
    for name, stored in read_header(source).items():
        values = mapped(stored).view(-1)
        yield target.offsets[name], values if name.endswith(BIAS) else values.to(torch.bfloat16)


def _commit(checkpoint: Path, scratch: Path, folder: Path) -> None:
    config = read_json(checkpoint / CONFIG) | {"torch_dtype": "bfloat16"}
    for name, content in ((CONFIG, config), (WEIGHTS_INDEX, read_json(checkpoint / WEIGHTS_INDEX))):
        (scratch / name).write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        flush(scratch / name)
    scratch.rename(folder)
    flush(folder.parent)
