"""The caches of `transformers` as slots."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

from arctic_model.inference.cache.slots import Slots, SlotView, zeros
from arctic_model.inference.language_model import Part
from arctic_model.layers.attention.grouped_query import LayerCache


def new_slots(model: Any, ids: Tensor, num_slots: int, capacity: int) -> Slots:
    """Slots in the layout of `model`, which reads `ids` to show it."""
    seen: Any = DynamicCache()
    model(ids, past_key_values=seen, use_cache=True)
    rooms = [[_room(each, num_slots, capacity) for each in (layer.keys, layer.values)] for layer in seen.layers]
    return Slots([LayerCache(keys, values) for keys, values in rooms])


def library_cache(view: "SlotView | GrowingCache") -> Any:
    """The cache object that a model of the library takes."""
    return view.inner if isinstance(view, GrowingCache) else Cache(layers=[_SlotLayer(layer) for layer in view.layers])


class GrowingCache:
    """SlotCache with one slot, and its CacheView: the library's own cache, for models that follow no mask."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self.inner = DynamicCache(config=config)

    @property
    def length(self) -> int:
        """See `CacheView`."""
        length: int = self.inner.get_seq_length()
        return length

    def row(self, slot: int, length: int) -> "GrowingCache":  # noqa: ARG002 - there is one
        """See `SlotCache`."""
        if length == 0:
            self.inner = DynamicCache(config=self._config)
        return self

    def rows(self, lengths: list[int]) -> "GrowingCache":
        """See `SlotCache`."""
        return self.row(0, lengths[0])

    def parts(self, parts: Sequence[Part]) -> "GrowingCache":
        """See `SlotCache`."""
        raise NotImplementedError("there is one slot")

    def swap(self, first: int, second: int, length: int) -> None:
        """See `SlotCache`."""
        raise NotImplementedError("there is one slot")

    def copy(self, source: int, target: int, length: int) -> None:
        """See `SlotCache`."""
        raise NotImplementedError("there is one slot")

    def clear(self, slot: int) -> None:
        """See `SlotCache`. Every sequence begins with an empty cache."""


class _SlotLayer(CacheLayerMixin):
    """A layer of a library's cache that writes into slots."""

    def __init__(self, cache: LayerCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache = cache
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """There is room already."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._cache.append(key_states, value_states)

    def get_seq_length(self) -> int:
        return self._cache.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.length + query_length, 0

    def get_max_length(self) -> int:
        return self._cache.keys.shape[2]


def _room(seen: Tensor, num_slots: int, capacity: int) -> Tensor:
    return zeros((num_slots, seen.shape[1], capacity, seen.shape[3]), seen.dtype, seen.device)
