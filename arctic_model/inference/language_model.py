"""The interface of a model for decoding. `ArcticDecoder` gives it for this project's models; other libraries can
too."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Part(NamedTuple):
    """The ids from `start` to `end` of the sequence in `slot`."""

    slot: int
    start: int
    end: int

    @property
    def num_ids(self) -> int:
        """Number of ids."""
        return self.end - self.start


@runtime_checkable
class CacheView(Protocol):
    """The rows of a cache that one pass reads and extends. `length`: ids that its longest row holds before the pass."""

    @property
    def length(self) -> int: ...


@runtime_checkable
class SlotCache(Protocol):
    """Keys and values of several sequences, one in each slot."""

    def row(self, slot: int, length: int) -> CacheView:
        """One slot, of which the first `length` ids count: a pass over a batch of 1 writes behind them."""

    def rows(self, lengths: list[int]) -> CacheView:
        """The first `len(lengths)` slots, with the number of valid ids in each: a pass of one id a row writes behind
        them. One slot may be given as `row` gives it."""

    def parts(self, parts: Sequence[Part]) -> CacheView:
        """The slots of `parts`, one after the other as one row: a pass over a batch of 1 reads all parts in order, and
        a part sees its own slot only (`packed_mask`)."""

    def swap(self, first: int, second: int, length: int) -> None:
        """Exchange the first `length` ids of two slots."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Write the first `length` ids of `source` over those of `target`."""

    def clear(self, slot: int) -> None:
        """Forget the content of a slot that is not finite: a mask would not hide it from the next sequence."""


@runtime_checkable
class LanguageModel(Protocol):
    """A causal model with a cache.

    `vocab_size`: ids are below it. `max_positions`: ids that a sequence may have. `sees_masks`: whether `logits`
    follows any mask and any positions. If it does not (sliding windows, recurrent layers), `mask` must be the
    causal one, and nothing can be shared between sequences. `streams`: whether sequences have no end; the mask is then
    `no_mask`. `keeps_parts_apart`: whether a pass over several parts of a cache takes `no_mask` too, since each part
    meets the keys of its own slot alone.
    """

    vocab_size: int
    max_positions: int
    sees_masks: bool
    streams: bool
    keeps_parts_apart: bool
    device: torch.device

    def new_cache(self, num_slots: int, capacity: int) -> SlotCache:
        """An empty cache for `num_slots` sequences of up to `capacity` ids each."""

    def logits(
        self,
        ids: Int[Tensor, "B T"],
        positions: Int[Tensor, "B T"],
        mask: Float[Tensor, "B 1 T S"],
        keep: Int[Tensor, " n"],
        cache: Any = None,
    ) -> Float[Tensor, "n V"]:
        """float32 logits of the next id after the ids at `keep`, which counts through the B * T.

        `mask` is added to the attention scores, 0 or -inf; its S keys are those in `cache`, a CacheView of the model,
        after the new ones were added.
        """


def added_mask(visible: Tensor) -> Tensor:
    """bool -> the mask that is added to attention scores: 0 if a key is visible, else -inf."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)


def no_mask(device: torch.device, batch: int = 1, num_ids: int = 1) -> Float[Tensor, "B 1 T 0"]:
    """The mask of a pass that takes none."""
    return torch.empty(batch, 1, num_ids, 0, device=device)


def packed_mask(parts: Sequence[Part], device: torch.device) -> Float[Tensor, "1 1 T S"]:
    """The mask of a pass over `parts`: each id sees those before it in its own slot."""
    visible = torch.zeros(sum(part.num_ids for part in parts), sum(part.end for part in parts), dtype=torch.bool)
    row = column = 0
    for part in parts:
        block = visible[row : row + part.num_ids, column : column + part.end]
        block.copy_(torch.ones_like(block).tril(part.start))
        row, column = row + part.num_ids, column + part.end
    return added_mask(visible.to(device))[None, None]
