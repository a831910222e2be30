"""Tokens/s of greedy decoding by batch size, with and without CUDA graphs, and the share of the memory's rate that
reading the weights takes.

A step of one sequence reads every dense weight and the experts that it chose; with many sequences it reads all.
"""

from typing import Any

import torch
from setting import finish, model_config, now, options

from arctic_model.config import ArcticConfig
from arctic_model.inference.arctic_decoder import ArcticDecoder
from arctic_model.inference.completion import Request
from arctic_model.inference.engine import Engine
from arctic_model.model import ArcticModel
from arctic_model.sizing import count_parameters
from arctic_model.sizing.step_time import gpu_named

BATCHES = (1, 8, 64)
PROMPT, NEW = 128, 64
WARM = 8
"""Ids of each answer before the clock starts: the first passes compile kernels and capture graphs."""


def weight_bytes(config: ArcticConfig, num_sequences: int) -> float:
    """Read in one step: the embedding is a look-up, and each sequence chooses experts at random."""
    count = count_parameters(config)
    untouched = (1 - config.top_k / config.num_experts) ** num_sequences
    read = count.dense - config.vocab_size * config.hidden_size + count.experts * (1 - untouched)
    return 2 * read


def steps(decoder: ArcticDecoder, prompts: list[list[int]], new: int) -> tuple[float, list[list[int]]]:
    """Seconds of a step that adds an id to each answer, once all prompts are read, and the answers."""
    engine = Engine(decoder, max_batch=len(prompts), capacity=len(prompts[0]) + new + WARM)
    answers = [engine.add(Request(prompt, new + WARM)) for prompt in prompts]
    while min(len(answer.ids) for answer in answers) < WARM:
        engine.step()
    started, read = now(decoder.device), len(answers[0].ids)
    while engine.step():
        pass
    seconds = now(decoder.device) - started
    return seconds / (new + WARM - read), [answer.ids for answer in answers]


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
        plain = ArcticDecoder(model)
        plain.has_graphs = False
        without_s, expected = steps(plain, prompts, new)
        per_step, ids = steps(ArcticDecoder(model), prompts, new)
        same = sum(mine == theirs for mine, theirs in zip(ids, expected, strict=True))
        result[f"batch {size}"] = {
            "tokens_per_s": size / per_step,
            "step_ms": 1000 * per_step,
            "step_ms_without_graphs": 1000 * without_s,
            "same_answers": same / size,
        }
        if gpu:
            share = weight_bytes(config, size) / per_step / gpu.memory_bytes_per_s
            result[f"batch {size}"]["share_of_bandwidth"] = share
    finish(**result)


if __name__ == "__main__":
    main()
