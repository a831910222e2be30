"""Reading and writing without end, in constant memory: StreamingLLM's sinks and window (arXiv 2309.17453)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from arctic_model.checkpoint.writing import flush
from arctic_model.inference.arctic_decoder import ArcticDecoder
from arctic_model.inference.cache.slots import Slots, SlotView
from arctic_model.inference.cpu.cpu_pass import ArcticParts
from arctic_model.inference.language_model import no_mask
from arctic_model.inference.sampling import GenerationError
from arctic_model.layers.attention.grouped_query import LayerCache
from arctic_model.layers.attention.stream_cache import StreamCache, StreamRows, stream_table
from arctic_model.layers.rotary import Rotation

BLOCK = 128
"""Tokens of a text that one pass reads."""
ENDLESS = 2**62
"""More tokens than any stream has."""


@dataclass(frozen=True)
class StreamWindow:
    """The memory of an endless sequence.

    Args:
        window: newest tokens that each token sees, itself included.
        sinks: first tokens that it sees too; the paper finds 4 to be enough.

    Raises:
        GenerationError: if a number is out of its range.
    """

    window: int
    sinks: int = 4

    def __post_init__(self) -> None:
        if self.window < 1:
            raise GenerationError(f"window = {self.window}: must be 1 or more. Raise it.")
        if self.sinks < 0:
            raise GenerationError(f"sinks = {self.sinks}: must be 0 or more. Raise it.")

    @property
    def size(self) -> int:
        """Tokens that are remembered."""
        return self.sinks + self.window

    def require_within(self, max_positions: int) -> None:
        """Raise GenerationError if distances exceed those that a model was trained on."""
        if self.size > max_positions:
            raise GenerationError(
                f"window = {self.window} with sinks = {self.sinks}: the model has {max_positions} positions. Lower the "
                "window."
            )


class StreamDecoder(ArcticDecoder):
    """LanguageModel whose sequences are endless. Masks and positions of its callers do not matter: each token sees the
    sinks and the window before it.

    Args:
        model: holds all experts.
        window: the tokens that the cache holds.

    Raises:
        GenerationError: if the window exceeds the model's positions.
    """

    sees_masks = False
    streams = True

    def __init__(self, model: ArcticParts, window: StreamWindow) -> None:
        super().__init__(model)
        window.require_within(model.config.max_positions)
        self.window = window
        self.max_positions = ENDLESS

    def new_cache(self, num_slots: int, capacity: int) -> "StreamSlots":  # noqa: ARG002 - sequences have no end
        """See `LanguageModel`."""
        self._prepare(num_slots)
        wide = torch.promote_types(self.dtype, torch.float32)
        table = stream_table(self._model.config.rope, self.window.size, wide, self.device)
        return StreamSlots(self._layers(num_slots, self.window.size), self._model, self.window, table)

    def logits(
        self, ids: Tensor, positions: Tensor, mask: Tensor, keep: Tensor, cache: SlotView | None = None
    ) -> Tensor:
        """See `LanguageModel`. A long text is read block by block."""
        assert cache
        parts = []
        for start in range(0, ids.shape[1], BLOCK):
            block = slice(start, start + BLOCK)
            rows = keep[(keep >= start) & (keep < start + BLOCK)] - start
            parts.append(super().logits(ids[:, block], positions[:, block], mask, rows, cache))
        return torch.cat(parts)


class StreamSlots(Slots):
    """SlotCache of endless sequences. Lengths count all tokens read."""

    def __init__(self, layers: list[LayerCache], model: ArcticParts, window: StreamWindow, table: Rotation) -> None:
        super().__init__(layers)
        self._options: dict[str, Any] = {"sinks": window.sinks, "rope": model.config.rope, "table": table}

    def row(self, slot: int, length: int) -> SlotView:
        """See `SlotCache`."""
        return SlotView([StreamCache(*pair, length, **self._options) for pair in self._by_slot[slot]], length, 1)

    def rows(self, lengths: list[int]) -> SlotView:
        """See `SlotCache`."""
        if len(lengths) == 1:
            return self.row(0, lengths[0])
        options = {"sinks": self._options["sinks"], "table": self._options["table"]}
        options["lengths"] = torch.tensor(lengths, device=self._layers[0].keys.device)
        longest = max(lengths)
        return self._view([StreamRows(layer.keys, layer.values, longest, **options) for layer in self._layers])


class Stream:
    """One endless sequence that a model reads.

    Args:
        model: an `ArcticModel` that holds all experts.
        window: the tokens that the cache holds.

    Raises:
        GenerationError: if the window exceeds the model's positions.

    Example:
        >>> from arctic_model import ArcticModel, Stream, StreamWindow, preset
        >>> stream = Stream(ArcticModel(preset("tiny"), seed=0).eval(), StreamWindow(window=60))
        >>> stream.read(range(300)).shape  # logits behind each id, [T, V]
        torch.Size([300, 384])
        >>> stream.num_read
        300
    """

    def __init__(self, model: ArcticParts, window: StreamWindow) -> None:
        self._decoder = StreamDecoder(model, window)
        self._slots = self._decoder.new_cache(1, 0)
        self.num_read = 0

    @torch.inference_mode()
    def read(self, ids: Sequence[int] | Int[Tensor, " T"]) -> Float[Tensor, "T V"]:
        """Read on. Returns float32 logits of the token behind each of `ids`."""
        new = torch.as_tensor(list(ids) if not isinstance(ids, Tensor) else ids, device=self._decoder.device)
        order = torch.arange(len(new), device=new.device)
        view = self._slots.row(0, self.num_read)
        self.num_read += len(new)
        return self._decoder.logits(new[None], order[None], no_mask(new.device), order, view)

    def save(self, file: Path) -> None:
        """Write all that the stream remembers. After a kill or a crash the file has this content or the one before."""
        tensors = {f"{number:06d}": tensor for number, tensor in enumerate(self._slots.tensors())}
        state = {"num_read": str(self.num_read), "window": str(self._decoder.window.window)}
        partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            save_file(tensors, partial, metadata=state | {"sinks": str(self._decoder.window.sinks)})
            flush(partial)
            partial.rename(file)
        finally:
            partial.unlink(missing_ok=True)
        flush(file.parent)

    @classmethod
    def restored(cls, model: ArcticParts, file: Path) -> "Stream":
        """The stream of `save`, which goes on with the same bits.

        Raises:
            GenerationError: if the file is of another model.
        """
        from safetensors import safe_open

        with safe_open(file, "pt") as opened:
            state = opened.metadata() or {}
        if not state.keys() >= {"num_read", "window", "sinks"}:
            raise GenerationError(f"{file}: holds no stream. Name a file that Stream.save wrote.")
        stream = cls(model, StreamWindow(int(state["window"]), int(state["sinks"])))
        stored = [tensor for _, tensor in sorted(load_file(file).items())]
        room = stream._slots.tensors()
        if [tensor.shape for tensor in stored] != [tensor.shape for tensor in room]:
            raise GenerationError(f"{file}: the stream of another model. Restore it with the model that read it.")
        for target, source in zip(room, stored, strict=True):
            target.copy_(source)
        stream.num_read = int(state["num_read"])
        return stream
