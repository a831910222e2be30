"""Continuations of prompts of token ids."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from arctic_model.inference.arctic_decoder import ArcticDecoder
from arctic_model.inference.completion import Request
from arctic_model.inference.cpu.cpu_pass import ArcticParts
from arctic_model.inference.engine import Engine
from arctic_model.inference.sampling import GREEDY, Sampling

MAX_BATCH = 32
"""Prompts that are continued side by side."""


def generate(
    model: ArcticParts,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    end_ids: Iterable[int] = (),
) -> list[list[int]]:
    """See `ArcticModel.generate`."""
    seeds = [f"{sampling.seed}/{number}" for number in range(len(prompts))]
    requests = [
        Request(prompt, max_new_tokens, replace(sampling, seed=seed))
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    if not requests:
        return []
    capacity = min(max(len(prompt) for prompt in prompts) + max_new_tokens, model.config.max_positions)
    batch = min(len(prompts), MAX_BATCH)
    engine = Engine(ArcticDecoder(model), end_ids=frozenset(end_ids), max_batch=batch, capacity=capacity)
    ended = ((each.ids, each.end_id) for each in engine.run(requests))
    return [ids if end_id is None else [*ids, end_id] for ids, end_id in ended]
