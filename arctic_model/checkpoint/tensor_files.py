"""Safetensors files that several workers fill: every offset follows from the shapes alone.

The format (huggingface/safetensors, README): eight bytes with the header's length, little-endian; the header, JSON of
{name: {dtype, shape, data_offsets}} padded with spaces to a multiple of eight bytes; the values without gaps.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from arctic_model.checkpoint.workers import Progress

SYNC_BYTES = 2**28
"""Written between two flushes to the disk, so that each is short and a slow disk shows progress."""
FileSlice: TypeAlias = tuple[int, Tensor]
"""An offset in a file, in bytes, and the flat float32 values that go there."""


@dataclass(frozen=True)
class TensorFile:
    """A file of float32 tensors in the order of `shapes`."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]

    @cached_property
    def header(self) -> bytes:
        """Length and JSON, up to the first value."""
        entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in self.shapes.items():
            begin, end = end, end + _num_bytes(shape)
            entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The first byte of each tensor, counted from the start of the file."""
        offsets, end = {}, len(self.header)
        for name, shape in self.shapes.items():
            offsets[name] = end
            end += _num_bytes(shape)
        return offsets

    @property
    def num_bytes(self) -> int:
        """Size of the whole file."""
        return len(self.header) + sum(_num_bytes(shape) for shape in self.shapes.values())


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


def mapped_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of the file by name, mapped into memory: bytes are read from disk on first access.

    Raises:
        ValueError: if the file is not a safetensors file of float32 tensors.
    """
    # Copy on write: torch accepts writable memory only.
    content = np.memmap(file, np.uint8, mode="c")
    values = 8 + int.from_bytes(content[:8].tobytes(), "little")
    entries = json.loads(content[8:values].tobytes())
    return {name: _mapped(content[values:], entry) for name, entry in entries.items() if name != "__metadata__"}


def _mapped(content: np.ndarray, entry: Mapping[str, Any]) -> Tensor:
    if entry["dtype"] != "F32":
        raise ValueError(f"holds {entry['dtype']}, not F32")
    begin, end = entry["data_offsets"]
    return torch.from_numpy(np.asarray(content[begin:end]).view(np.float32)).view(entry["shape"])


def _num_bytes(shape: tuple[int, ...]) -> int:
    return 4 * math.prod(shape)


def _bytes(values: Tensor) -> memoryview:
    return values.numpy().data.cast("B")


def _write_at(descriptor: int, content: memoryview, offset: int) -> int:
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], offset + written)
    return written
