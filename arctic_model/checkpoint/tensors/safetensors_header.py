"""The header of a safetensors file: names, dtypes, shapes and positions of its tensors. No torch here.

The format (huggingface/safetensors, README): eight bytes with the header's length, little-endian; the header, JSON of
{name: {dtype, shape, data_offsets}}; the values without gaps.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

from arctic_model.checkpoint.errors import CheckpointError

ELEMENT_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
"""Of the dtypes that weights may have."""
LARGEST_HEADER_BYTES = 100_000_000
"""Limit of the reference implementation."""


class StoredTensor(NamedTuple):
    """A tensor in a file: `dtype` in the format's words, `offset` of its first byte from the start of the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def num_bytes(self) -> int:
        """Size of its values."""
        return ELEMENT_BYTES[self.dtype] * math.prod(self.shape)


def read_header(file: Path) -> dict[str, StoredTensor]:
    """The tensors of `file` by name.

    Raises:
        CheckpointError: if it is not a safetensors file of weights, or shorter than its header requires.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > LARGEST_HEADER_BYTES:
                raise ValueError("no header of a safetensors file")
            entries = json.loads(stream.read(length))
        tensors = {
            name: StoredTensor(file, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
            for name, entry in entries.items()
            if name != "__metadata__"
        }
        size = file.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file}: unreadable ({error}). Copy the file again.", file) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in ELEMENT_BYTES:
            raise CheckpointError(
                f"{file}: {name} has dtype {tensor.dtype}. Convert the model to one of {', '.join(ELEMENT_BYTES)}."
            )
        if tensor.offset + tensor.num_bytes > size:
            raise CheckpointError(f"{file}: ends before the values of {name}. Copy the file again.", file)
    return tensors
