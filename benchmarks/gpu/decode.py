"""Tokens/s of greedy decoding by batch size, and the share of the memory's rate that reading the weights takes.

A step of one sequence reads every dense weight and the experts that it chose; with many sequences it reads all.
"""

from typing import Any

import torch
from setting import finish, model_config, now, options

from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.sizing import count_parameters
from arctic_model.sizing.step_time import gpu_named

BATCHES = (1, 8, 64)
PROMPT, NEW = 128, 64


def weight_bytes(config: ArcticConfig, num_sequences: int) -> float:
    """Read in one step: the embedding is a look-up, and each sequence chooses experts at random."""
    count = count_parameters(config)
    untouched = (1 - config.top_k / config.num_experts) ** num_sequences
    read = count.dense - config.vocab_size * config.hidden_size + count.experts * (1 - untouched)
    return 2 * read


def main() -> None:
    provided = options()
    config = model_config("arctic-2.5b-a400m", provided.dry)
    with torch.device(provided.device):
        model = ArcticModel(config, seed=0).to(torch.bfloat16).eval()
    prompt, new = (16, 8) if provided.dry else (PROMPT, NEW)
    gpu = None if provided.dry else gpu_named(torch.cuda.get_device_name())
    result: dict[str, Any] = {}
    for size in BATCHES:
        prompts = [[(7 * row + at) % config.vocab_size for at in range(prompt)] for row in range(size)]
        model.generate(prompts, 2)
        started = now(provided.device)
        model.generate(prompts, 1)
        read = now(provided.device)
        model.generate(prompts, 1 + new)
        per_step = (now(provided.device) - read - (read - started)) / new
        result[f"batch {size}"] = {"tokens_per_s": size / per_step, "step_ms": 1000 * per_step}
        if gpu:
            share = weight_bytes(config, size) / per_step / gpu.memory_bytes_per_s
            result[f"batch {size}"]["share_of_bandwidth"] = share
    finish(**result)


if __name__ == "__main__":
    main()
