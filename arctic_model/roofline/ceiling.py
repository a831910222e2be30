"""The time that kernels take at best on a GPU, and the share of its peak that a model reaches then.

A product of matrices runs at a share of the peak that long products reach in practice, everything else at a share of
the memory's data-sheet rate. The ceiling leaves out work that overlaps badly or not at all: the host, the update,
exchanges.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from arctic_model.config import ArcticConfig
from arctic_model.roofline.passes import trace_ends, trace_layer
from arctic_model.roofline.tracing import PRODUCTS, Kernel
from arctic_model.sizing.flops import training_flops_per_token
from arctic_model.sizing.step_time import Gpu

PRODUCT_SHARE = 0.66
"""Share of the data sheet's bfloat16 peak: 650 of 989 TFLOP/s for grouped products and flash attention on Hopper."""
MEMORY_SHARE = 0.85
"""Share of the data sheet's memory rate that copies reach."""


@dataclass(frozen=True)
class KernelGroup:
    """Kernels of one part of a pass: their number and FLOPs, the bytes of those that are not matrix products, and
    seconds in products and in all others."""

    num_kernels: int
    flops: int
    num_bytes: int
    products_s: float
    others_s: float

    @property
    def seconds(self) -> float:
        """One kernel after the other."""
        return self.products_s + self.others_s


@dataclass(frozen=True)
class Roofline:
    """A forward and backward pass in bfloat16 by part: each layer that differs from the ones before it, with how often
    it comes, and the ends."""

    layers: Mapping[str, tuple[int, KernelGroup]]
    ends: KernelGroup
    tokens: int
    peak_s: float
    """Seconds of the model's FLOPs at the GPU's peak."""

    @property
    def seconds(self) -> float:
        """Of the pass."""
        return self.ends.seconds + sum(count * layer.seconds for count, layer in self.layers.values())

    @property
    def mfu(self) -> float:
        """The share of the peak."""
        return self.peak_s / self.seconds


def roofline(config: ArcticConfig, gpu: Gpu, num_sequences: int) -> Roofline:
    """The best that today's kernels reach on `num_sequences` full sequences, with all experts on the GPU."""
    tokens = num_sequences * config.max_positions
    numbers = {"with experts": config.moe_layers, "dense": sorted(set(range(config.num_layers)) - {*config.moe_layers})}
    layers = {
        name: (len(members), _group(trace_layer(config, members[0], num_sequences, torch.bfloat16).all, gpu))
        for name, members in numbers.items()
        if members
    }
    ends = _group(trace_ends(config, num_sequences, torch.bfloat16).all, gpu)
    flops = tokens * training_flops_per_token(config, config.max_positions)
    return Roofline(layers, ends, tokens, flops / gpu.bfloat16_flops)


def _group(kernels: Iterable[Kernel], gpu: Gpu) -> KernelGroup:
    products: list[Kernel] = []
    others: list[Kernel] = []
    for kernel in kernels:
        (products if kernel.name in PRODUCTS else others).append(kernel)
    return KernelGroup(
        num_kernels=len(products) + len(others),
        flops=sum(kernel.flops for kernel in products),
        num_bytes=sum(kernel.num_bytes for kernel in others),
        products_s=sum(_seconds(kernel, gpu) for kernel in products),
        others_s=sum(_seconds(kernel, gpu) for kernel in others),
    )


def _seconds(kernel: Kernel, gpu: Gpu) -> float:
    """The longer of computing and of moving the bytes."""
    computing = kernel.flops / (PRODUCT_SHARE * gpu.bfloat16_flops)
    return max(computing, kernel.num_bytes / (MEMORY_SHARE * gpu.memory_bytes_per_s))
