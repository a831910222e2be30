"""The loss of precision from summing gradients in bfloat16, over the passes of a step and over the workers of a ring.

python benchmarks/gradient_dtype.py [--quick]

Passes: real gradients of a small model on source code, one sequence a pass, with weights in bfloat16. Ring: each
worker's addend is drawn, and added to the partial sum that comes from its neighbour, as a reduce-scatter does it.
Errors are relative to the sum in float64 of the same addends.
"""

from collections.abc import Iterator

import torch
from harness import arguments, machine, report
from optimizers import SEPARATOR, batch_of, packed
from torch import Tensor

from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.losses.objective import Scale, training_loss
from arctic_model.training.optimization.settings import Optimization

DTYPES = (torch.float32, torch.bfloat16)
NUM_ELEMENTS = 4096
GOAL = "below 1e-6 in float32"


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    passes, rings = ([16, 64], [8, 64]) if quick else ([16, 64, 256], [8, 64, 256, 1024])
    torch.set_num_threads(1)
    print(machine("torch"))
    print("\nRelative error of a step's gradient, all parameters together\n")
    print("| passes | float32 | bfloat16 |\n|---|---|---|")
    last: dict[torch.dtype, float] = {}
    for number, last in pass_errors(passes):
        print(f"| {number} | {last[torch.float32]:.1e} | {last[torch.bfloat16]:.2%} |")
    print("\nRelative error of a sum over a ring\n")
    print("| workers | float32 | bfloat16, workers agree | bfloat16, independent |\n|---|---|---|---|")
    for size in rings:
        agree, independent = (ring_errors(size, mean) for mean in (1.0, 0.0))
        worst = max(agree[torch.float32], independent[torch.float32])
        print(f"| {size} | {worst:.1e} | {agree[torch.bfloat16]:.1%} | {independent[torch.bfloat16]:.1%} |")
    ours, peer = last[torch.float32], last[torch.bfloat16]
    report("gradient_dtype: float32", ours, {"bfloat16": peer}, "relative error", peer / ours, GOAL)


def pass_errors(numbers: list[int]) -> Iterator[tuple[int, dict[torch.dtype, float]]]:
    """After each of `numbers` of passes."""
    sums: dict[torch.dtype, Tensor] = {}
    for number, gradient in enumerate(gradients(max(numbers)), start=1):
        for dtype in (*DTYPES, torch.float64):
            sums[dtype] = sums[dtype] + gradient.to(dtype) if sums.get(dtype) is not None else gradient.to(dtype)
        if number in numbers:
            yield number, {dtype: error(sums[dtype], sums[torch.float64]) for dtype in DTYPES}


def gradients(num_passes: int) -> Iterator[Tensor]:
    """Of each pass, all parameters in one flat tensor in bfloat16."""
    config = preset("quickstart", {"vocab_size": SEPARATOR + 1, "num_layers": 2})
    model = ArcticModel(config, seed=0)
    model = model.bfloat16()
    parameters = list(model.parameters())
    for row in packed(False)[:num_passes]:
        batch = batch_of(row[None])
        scale = Scale(float(batch.targets.numel()), float(batch.ids.numel()), torch.zeros(2, config.num_experts))
        loss, _ = training_loss(model, batch, scale, Optimization())
        yield torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])


def ring_errors(size: int, mean: float) -> dict[torch.dtype, float]:
    """Of addends in bfloat16 around `mean` with a deviation of 1 / 4."""
    generator = torch.Generator().manual_seed(size)
    addends = (torch.randn(size, NUM_ELEMENTS, generator=generator) / 4 + mean).bfloat16()
    return {dtype: error(in_turn(addends.to(dtype)), addends.double().sum(0)) for dtype in DTYPES}


def in_turn(addends: Tensor) -> Tensor:
    total = addends[0].clone()
    for addend in addends[1:]:
        total += addend
    return total


def error(result: Tensor, expected: Tensor) -> float:
    return float((result.double() - expected).norm() / expected.norm())


if __name__ == "__main__":
    main()
