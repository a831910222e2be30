"""Greedy decoding with a cache of keys and values."""

from collections.abc import Callable

import torch

from arctic_model.model import ArcticModel


@torch.inference_mode()
def greedy(
    model: ArcticModel,
    prompt_ids: list[int],
    max_new_tokens: int,
    stop: Callable[[list[int]], bool],
) -> list[int]:
    """The most probable continuation, one id at a time (ties to the smaller id), without the prompt.

    Ends after `max_new_tokens`, when `stop(new ids)` says so (the last id is then included), or where the model has
    no more positions. Raises ValueError on an empty prompt or one longer than the model's positions.
    """
    positions = model.config.max_positions
    if not 0 < len(prompt_ids) <= positions:
        raise ValueError(f"prompt of {len(prompt_ids)} ids: must have 1 to {positions}. Shorten it.")
    capacity = min(positions, len(prompt_ids) + max_new_tokens)
    caches = model.new_caches(capacity)
    device = model.lm_head.weight.device
    fresh, produced = prompt_ids, list[int]()
    while len(produced) < max_new_tokens and caches[0].length + len(fresh) <= capacity:
        start = caches[0].length
        ids = torch.tensor([fresh], device=device)
        place = torch.arange(start, start + len(fresh), device=device)[None]
        hidden = model.hidden_states(ids, place, torch.zeros_like(ids), caches).hidden[0, -1]
        fresh = [int(model.lm_head(hidden).argmax())]
        produced += fresh
        if stop(produced):
            break
    return produced
