"""Text generation, one token at a time: greedy, or sampled at a temperature."""

from collections.abc import Container, Sequence

import torch
from torch import Tensor

from arctic_model.inference.next_token import next_state
from arctic_model.layers.attention import LayerCache
from arctic_model.model import ArcticModel


@torch.inference_mode()
def generate(
    model: ArcticModel,
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    stop: Container[int] = (),
    seed: int | None = None,
) -> list[int]:
    """Continue a prompt of token ids.

    The prompt is read in one pass; every later token costs one pass over itself, with keys and values cached.

    Args:
        model: holds all experts.
        prompt: at least one id.
        max_new_tokens: limit of the continuation.
        temperature: 0 takes the likeliest token; otherwise tokens are sampled from `softmax(logits / temperature)`.
        stop: ids that end the continuation; the one that does is its last.
        seed: of the sampling. None draws from torch's default generator.

    Returns:
        The new ids, without the prompt.

    Raises:
        ValueError: if the prompt is empty, the temperature negative, or prompt and continuation exceed `max_positions`.

    Example:
        >>> from arctic_model import ArcticModel, generate, preset
        >>> model = ArcticModel(preset("tiny"), seed=0)
        >>> len(generate(model, [1, 2, 3], max_new_tokens=5))
        5
    """
    length = len(prompt) + max_new_tokens
    if not prompt:
        raise ValueError("prompt = []: holds no token. Start with the id of the end token, as training does.")
    if temperature < 0:
        raise ValueError(f"temperature = {temperature:g}: must be 0 or more.")
    if length > model.config.max_positions:
        raise ValueError(
            f"a prompt of {len(prompt)} tokens and max_new_tokens = {max_new_tokens} exceed "
            f"model.max_positions = {model.config.max_positions}. Shorten one of the two."
        )
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    caches = model.new_caches(length)
    state = model.hidden_states(torch.tensor([prompt], device=model.lm_head.weight.device), caches=caches).hidden[0, -1]
    new: list[int] = []
    while len(new) < max_new_tokens:
        new.append(_sampled(model.lm_head(state).float().cpu(), temperature, generator))
        if new[-1] in stop:
            break
        if len(new) < max_new_tokens:
            state = _next_state(model, new[-1], caches)
    return new


def _sampled(logits: Tensor, temperature: float, generator: torch.Generator | None) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))


def _next_state(model: ArcticModel, token: int, caches: list[LayerCache]) -> Tensor:
    """The final hidden state of `token`, by the kernel for one token if the model is on a CPU."""
    weight, position = model.lm_head.weight, caches[0].length
    if weight.device.type == "cpu":
        return next_state(model, token, position, weight.new_zeros(1, 1, 1, position + 1), caches)
    return model.hidden_states(torch.tensor([[token]], device=weight.device), caches=caches).hidden[0, -1]
