"""This project's model as a LanguageModel."""

import torch
from torch import Tensor

from arctic_model.inference.next_token import ArcticParts, next_state
from arctic_model.inference.slots import Slots, SlotView, zeros
from arctic_model.layers.attention import LayerCache


class ArcticDecoder:
    """LanguageModel of an `ArcticModel` that holds all experts."""

    sees_masks = True

    def __init__(self, model: ArcticParts) -> None:
        self._model = model
        self.device = model.lm_head.weight.device
        self.vocab_size = model.config.vocab_size
        self.max_positions = model.config.max_positions

    def new_cache(self, num_slots: int, capacity: int) -> Slots:
        """See `LanguageModel`."""
        config, weight = self._model.config, self._model.lm_head.weight
        shape = num_slots, config.num_kv_heads, capacity, config.head_dim
        room = [zeros(shape, weight.dtype, weight.device) for _ in range(2 * config.num_layers)]
        return Slots([LayerCache(*pair) for pair in zip(room[::2], room[1::2], strict=True)])

    def logits(
        self, ids: Tensor, positions: Tensor, mask: Tensor, keep: Tensor, cache: SlotView | None = None
    ) -> Tensor:
        """See `LanguageModel`."""
        caches = cache.layers if cache else None
        mask = mask.to(self._model.lm_head.weight.dtype)
        if caches and ids.numel() == 1 and self.device.type == "cpu":
            state = next_state(self._model, int(ids), int(positions), mask, caches)
            logits: Tensor = self._model.lm_head(state[None])[keep]
            return logits.float()
        states = self._model.hidden_states(ids, positions, torch.zeros_like(ids), caches, mask=mask)
        logits = self._model.lm_head(states.hidden.flatten(0, 1)[keep])
        return logits.float()
