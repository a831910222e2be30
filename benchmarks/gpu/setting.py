"""Shared by all parts: the device and sizes of a run, implementations of the operators, and batches."""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from arctic_model.config import ArcticConfig
from arctic_model.kernels import grouped_products, operators
from arctic_model.moe import dispatch
from arctic_model.presets import preset
from arctic_model.training.losses.objective import Batch


def options(*positional: str) -> argparse.Namespace:
    """The command line of a part, with `device`."""
    parser = argparse.ArgumentParser()
    for name in positional:
        parser.add_argument(name)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--out", type=Path, default=Path())
    result = parser.parse_args()
    result.device = torch.device("cpu" if result.dry else "cuda")
    if result.dry:
        torch.set_num_threads(1)
    return result


def model_config(name: str, dry: bool) -> ArcticConfig:
    """The preset, or the tiny one instead."""
    return preset("tiny", {"expert_size": 32}) if dry else preset(name)


def batch(config: ArcticConfig, num_sequences: int, device: torch.device, seed: int) -> Batch:
    """Sequences in which each token follows from the previous one three times out of four, so that there is something
    to learn."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_sequences, config.max_positions + 1)
    ids = torch.randint(0, config.vocab_size, shape, generator=generator)
    follows = torch.rand(shape, generator=generator) < 0.75
    for position in range(1, shape[1]):
        successor = (5 * ids[:, position - 1] + 1) % config.vocab_size
        ids[:, position] = torch.where(follows[:, position], successor, ids[:, position])
    inputs, targets = ids[:, :-1].to(device), ids[:, 1:].to(device)
    positions = torch.arange(config.max_positions, device=device).expand_as(inputs)
    return Batch(inputs, positions, torch.zeros_like(inputs, dtype=torch.int32), targets)


@contextmanager
def torch_operators() -> Iterator[None]:
    """Inside, the operators of `arctic_model.kernels.operators` are torch's own operations on every device."""
    with ExitStack() as patches:
        for name, implementation in operators.IMPLEMENTATIONS.items():
            for module in (operators, dispatch, grouped_products):
                if hasattr(module, name):
                    patches.enter_context(patch.object(module, name, implementation))
        yield


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def now(device: torch.device) -> float:
    """Seconds, after the GPU has done all that it was given."""
    synchronize(device)
    return time.perf_counter()


def finish(**results: Any) -> None:
    """The last line of a part."""
    print(json.dumps(results))
