"""Tensors of a checkpoint into safetensors files.

One file holds one layer, as in the checkpoint. Tensors are mapped into memory, converted and written one after the
other, in two files at a time: while one of them waits for the disk, the other one converts. So memory holds two
converted tensors, for any size of the model.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from arctic_model.checkpoint.model_folder import WEIGHTS_INDEX
from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.checkpoint.tensors.files import DTYPES, TensorFile, write_slices
from arctic_model.checkpoint.tensors.shapes import ROUTER_BIAS, tensor_shapes
from arctic_model.checkpoint.workers import Progress
from arctic_model.config import ArcticConfig

Conversion = Callable[[str, Tensor], Mapping[str, Tensor]]
"""From a tensor with its name to its tensors in the export."""
READ_AHEAD = 2
"""The system reads this many tensors from disk beyond the one that is converted."""
NUM_CONVERTERS = 2
"""Threads: one converts while the other waits for the disk."""


def cast_to(dtype: torch.dtype) -> Conversion:
    """Every tensor in `dtype`; biases of routers in float32."""
    return lambda name, tensor: {name: tensor if name.endswith(ROUTER_BIAS) else tensor.to(dtype)}


def write_weights(checkpoint: Checkpoint, out: Path, convert: Conversion) -> None:
    """Write the weights of `checkpoint` as `model-NNNNN-of-NNNNN.safetensors` with their index into `out`.

    Args:
        checkpoint: as training writes it.
        out: an existing folder.
        convert: the conversion of a tensor of the checkpoint.
    """

    def write(name: str, sources: Sequence[str]) -> TensorFile:
        file = _planned(checkpoint, name, sources, convert)
        slices = (
            (file.offsets[target], tensor.flatten())
            for source, stored in read_ahead(checkpoint, sources)
            for target, tensor in convert(source, stored).items()
        )
        write_slices(out / name, slices, Progress(), file.header)
        return file

    with converters() as pool:
        files = list(pool.map(write, *zip(*tensors_by_file(checkpoint.config).items(), strict=True)))
    total_size = sum(file.num_bytes - len(file.header) for file in files)
    weight_map = {target: file.name for file in files for target in file.shapes}
    index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    (out / WEIGHTS_INDEX).write_text(json.dumps(index, indent=2, sort_keys=True), encoding="utf-8")


def read_ahead(checkpoint: Checkpoint, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """The tensors with their names, each mapped while the system reads the next ones from disk."""
    for number, name in enumerate(names):
        for later in names[number + READ_AHEAD : number + READ_AHEAD + 1]:
            checkpoint.expect(later)
        yield name, checkpoint.read(name)


@contextmanager
def converters() -> Iterator[ThreadPoolExecutor]:
    """Threads, each of which converts by itself: those of OpenMP would wait for one another, and for a busy core."""
    num_threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(NUM_CONVERTERS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(num_threads)


def _planned(checkpoint: Checkpoint, name: str, sources: Sequence[str], convert: Conversion) -> TensorFile:
    """The file with the converted tensors, of which none is converted yet, in the order of the safetensors library."""
    tensors: dict[str, Tensor] = {}
    for source in sources:
        tensors |= convert(source, checkpoint.read(source).to("meta"))
    tensors = dict(sorted(tensors.items(), key=lambda entry: (-entry[1].itemsize, entry[0])))
    words = {dtype: word for word, dtype in DTYPES.items()}
    dtypes = {target: words[tensor.dtype] for target, tensor in tensors.items()}
    return TensorFile(name, {target: tuple(tensor.shape) for target, tensor in tensors.items()}, dtypes)


def tensors_by_file(config: ArcticConfig) -> dict[str, list[str]]:
    """The files of a model and the released names of the tensors in each: embeddings, layers, norm with head."""
    sections = [list(names) for _, names in groupby(tensor_shapes(config), _section)]
    return {f"model-{number:05d}-of-{len(sections):05d}.safetensors": names for number, names in enumerate(sections, 1)}


def _section(name: str) -> str:
    if ".layers." in name:
        return name.split(".")[2]
    return "embeddings" if "embed_tokens" in name else "head"
