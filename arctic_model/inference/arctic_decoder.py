"""This project's model as a LanguageModel."""

import torch
import torch.distributed as dist
from torch import Tensor

from arctic_model.inference.cache.graph_slots import GraphRows, GraphSlots, graph_positions
from arctic_model.inference.cache.slots import Slots, SlotView, zeros
from arctic_model.inference.cpu.cpu_pass import ArcticParts, CpuPass, computing_dtype
from arctic_model.inference.cpu.products import reads_rows_fast
from arctic_model.inference.cpu.token_pass import TokenPass
from arctic_model.kernels.row_groups import are_padded
from arctic_model.layers.attention.grouped_query import LayerCache


class ArcticDecoder:
    """LanguageModel of an `ArcticModel`. The workers of its group, if it has one, all use it in step. Its weights must
    not change while this object is used.

    On a CPU a cache with several slots makes a copy of float32 weights, which prompts read faster. Weights in bfloat16
    are widened as they are read: everything else is float32, as in a float32 model with these values.

    On a GPU, CUDA graphs repeat the passes over growing answers (`has_graphs`), unless workers share the experts, or
    the host lays out their rows since grouped_mm refuses the width.
    """

    sees_masks = True
    streams = False

    def __init__(self, model: ArcticParts) -> None:
        self._model = model
        weight = model.lm_head.weight
        self.device, self.dtype = weight.device, computing_dtype(weight)
        self._is_narrow = weight.dtype != self.dtype
        self.vocab_size = model.config.vocab_size
        self.max_positions = model.config.max_positions
        # `PackedCache.attend` does so. The mask of a pass of 1,024 ids takes as long as its products.
        self.keeps_parts_apart = self.device.type == "cpu"
        self._alone = CpuPass(model) if self.device.type == "cpu" else None
        has_all = model.group.size == 1
        self._token = TokenPass(model) if has_all and reads_rows_fast(weight) else None
        self.has_graphs = has_all and not weight.is_cpu and not are_padded(weight, model.config.expert_size)
        self._together: CpuPass | None = None

    def new_cache(self, num_slots: int, capacity: int) -> Slots:
        """See `LanguageModel`."""
        self._prepare(num_slots)
        if self.has_graphs:
            return GraphSlots(self._layers(num_slots, graph_positions(capacity)), self._by_layers)
        return Slots(self._layers(num_slots, capacity))

    def _layers(self, num_slots: int, num_positions: int) -> list[LayerCache]:
        """An empty cache per layer."""
        config = self._model.config
        shape = num_slots, config.num_kv_heads, num_positions, config.head_dim
        room = [zeros(shape, self.dtype, self.device) for _ in range(2 * config.num_layers)]
        return [LayerCache(*pair) for pair in zip(room[::2], room[1::2], strict=True)]

    def _prepare(self, num_slots: int) -> None:
        """Lay weights out for passes over several sequences."""
        if num_slots > 1 and self._alone and not self._together:
            self._together = CpuPass(self._model, packed=True)

    def logits(
        self, ids: Tensor, positions: Tensor, mask: Tensor, keep: Tensor, cache: SlotView | None = None
    ) -> Tensor:
        """See `LanguageModel`. All workers get the first one's, so that they choose the same ids."""
        logits, group = self._logits(ids, positions, mask, keep, cache), self._model.group
        if group.size > 1:
            dist.broadcast(logits, src=0, group=group.process_group)
        return logits

    def _logits(self, ids: Tensor, positions: Tensor, mask: Tensor, keep: Tensor, cache: SlotView | None) -> Tensor:
        if isinstance(cache, GraphRows):
            return cache.logits(ids)
        mask = mask.to(self.dtype)
        if cache and self._token and TokenPass.takes(ids, cache.layers):
            return self._token.logits(ids, positions, mask, keep, cache.layers)
        if cache and cache.num_slots > 1 and self._together:
            return self._together.logits(ids, positions, mask, keep, cache.layers)
        caches = cache.layers if cache else None
        if self._alone and (self._is_narrow or (cache and ids.numel() == 1)):
            return self._alone.logits(ids, positions, mask, keep, caches)
        return self._by_layers(ids, positions, mask, keep, caches)

    def _by_layers(
        self, ids: Tensor, positions: Tensor, mask: Tensor, keep: Tensor, caches: list[LayerCache] | None
    ) -> Tensor:
        """By the layers' own code."""
        states = self._model.hidden_states(ids, positions, torch.zeros_like(ids), caches, mask=mask.to(self.dtype))
        logits: Tensor = self._model.lm_head(states.hidden.flatten(0, 1)[keep])
        return logits.float()
