"""Safetensors files that several workers fill: every offset follows from the shapes alone.

The format (huggingface/safetensors, README): eight bytes with the header's length, little-endian; the header, JSON of
{name: {dtype, shape, data_offsets}} padded with spaces to a multiple of eight bytes; the values without gaps.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from arctic_model.checkpoint.tensors.safetensors_header import StoredTensor
from arctic_model.checkpoint.workers import Progress

SYNC_BYTES = 2**28
"""Written between two flushes to the disk, so that each is short and a slow disk shows progress."""
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F8_E4M3": torch.float8_e4m3fn}
"""The format's words for dtypes."""
FileSlice: TypeAlias = tuple[int, Tensor]
"""An offset in a file, in bytes, and the flat values that go there."""


@dataclass(frozen=True)
class TensorFile:
    """A file of tensors in the order of `shapes`, in float32 except for those of other `dtypes`."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def header(self) -> bytes:
        """Length and JSON, up to the first value."""
        entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in self.shapes.items():
            begin, end = end, end + self._size(name)
            entries[name] = {"dtype": self._dtype(name), "shape": list(shape), "data_offsets": [begin, end]}
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The first byte of each tensor, counted from the start of the file."""
        offsets, end = {}, len(self.header)
        for name in self.shapes:
            offsets[name] = end
            end += self._size(name)
        return offsets

    @property
    def num_bytes(self) -> int:
        """Size of the whole file."""
        return len(self.header) + sum(map(self._size, self.shapes))

    def _dtype(self, name: str) -> str:
        return self.dtypes.get(name, "F32")

    def _size(self, name: str) -> int:
        return DTYPES[self._dtype(name)].itemsize * math.prod(self.shapes[name])


def write_slices(file: Path, slices: Iterable[FileSlice], progress: Progress, header: bytes = b"") -> int:
    """Write `header` at the start of the file and each slice at its offset, flushed to disk. Other bytes of the file
    stay. Returns the number of bytes written."""
    written = unsynced = 0
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        for offset, values in ((0, memoryview(header)), *((start, _bytes(part)) for start, part in slices)):
            for begin in range(0, len(values), SYNC_BYTES):
                count = _write_at(descriptor, values[begin : begin + SYNC_BYTES], offset + begin)
                written, unsynced = written + count, unsynced + count
                if unsynced >= SYNC_BYTES:
                    os.fsync(descriptor)
                    unsynced = 0
                progress.update()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return written


def mapped(stored: StoredTensor) -> Tensor:
    """The tensor, mapped into memory: its bytes are read from disk on first access."""
    # Copy on write: torch accepts writable memory only. One map per tensor: the kernel refuses a writable map that is
    # larger than the machine's memory, as a whole file can be.
    values = np.memmap(stored.file, np.uint8, mode="c", offset=stored.offset, shape=(stored.num_bytes,))
    return torch.from_numpy(np.asarray(values)).view(DTYPES[stored.dtype]).view(stored.shape)


def expect(stored: StoredTensor) -> None:
    """Have the system read the tensor from disk in the background, if it can."""
    if hasattr(os, "posix_fadvise"):
        with stored.file.open("rb", buffering=0) as stream:
            os.posix_fadvise(stream.fileno(), stored.offset, stored.num_bytes, os.POSIX_FADV_WILLNEED)


def _bytes(values: Tensor) -> memoryview:
    return values.view(torch.uint8).numpy().data


def _write_at(descriptor: int, content: memoryview, offset: int) -> int:
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], offset + written)
    return written
