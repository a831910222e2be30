"""One of two workers that measure the allocations and traffic of a step: `sizing_worker.py RANK RENDEZVOUS OUT`.

Writes OUT-RANK.json: bytes by part for every arrangement of `test_sizing.ARRANGEMENTS`.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from arctic_model.config import ArcticConfig
from arctic_model.kernels.row_groups import PADDED
from arctic_model.presets import preset
from arctic_model.training.engine import Engine
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.saving import Staging

SEQUENCES, LENGTH, PASSES = 2, 16, 2
ARRANGEMENTS = [
    ("deepspeed", 0, "float32", "float32", 2, "adamw"),
    ("deepspeed", 1, "bfloat16", "float32", 2, "adamw"),
    ("deepspeed", 2, "bfloat16", "float32", 2, "adamw"),
    ("deepspeed", 2, "bfloat16", "float32", 1, "adamw"),
    ("deepspeed", 1, "bfloat16", "bfloat16", 2, "adamw"),
    ("deepspeed", 2, "bfloat16", "bfloat16", 2, "adamw"),
    ("deepspeed", 1, "float32", "float32", 1, "adamw"),
    ("deepspeed", 0, "float32", "float32", 2, "muon"),
    ("deepspeed", 1, "bfloat16", "float32", 1, "muon"),
    ("flat", 0, "float32", "float32", 2, "adamw"),
    ("flat", 1, "bfloat16", "float32", 2, "adamw"),
    ("flat", 2, "bfloat16", "bfloat16", 1, "adamw"),
    ("flat", 2, "float32", "float32", 1, "muon"),
    ("flat", 3, "bfloat16", "float32", 1, "adamw"),
    ("deepspeed", 1, "float32", "float32", 2, "adamw", 2),
    ("deepspeed", 2, "bfloat16", "float32", 1, "adamw", 2),
]
"""Engine, ZeRO stage, dtype, gradient_dtype, expert_parallel_size, optimizer, and context_parallel_size if not 1."""

FLAT_FLOAT32 = ("flat", "float32")
"""Its float32 weights are their own masters."""
INPUTS = {
    "all_reduce": "tensor",
    "all_to_all_single": "input",
    "all_gather": "tensor",
    "all_gather_into_tensor": "input_tensor",
    "all_gather_single": "input_tensor",
    "reduce_scatter_single": "input",
}
"""The collectives that are counted, and which of their arguments is sent."""
SENT: Counter[str] = Counter()
"""Bytes that went into each kind of collective and dtype since the counter was cleared."""


def main() -> None:
    rank, rendezvous, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    PADDED.clear()  # as on a GPU, which the formulas are for
    count_collectives()
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    measured = [measure(*arrangement) for arrangement in ARRANGEMENTS]
    Path(f"{out}-{rank}.json").write_text(json.dumps(measured), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


def config() -> ArcticConfig:
    return preset("tiny", {"num_layers": 3, "init_std": 0.2})


def measure(
    kind: str,
    zero_stage: int,
    dtype: str,
    gradient_dtype: str,
    expert_parallel_size: int,
    optimizer: str,
    context_parallel_size: int = 1,
) -> dict[str, Any]:
    """One step of two passes, and the copy that a checkpoint is written from. Gradients are looked at between the two
    passes."""
    settings = Optimization(
        optimizer=optimizer, engine=kind, zero_stage=zero_stage, dtype=dtype, gradient_dtype=gradient_dtype
    )
    sizes = (expert_parallel_size, PASSES)
    engine = Engine(config(), settings, *sizes, training_loss, context_parallel_size=context_parallel_size)
    parameters = list(engine.model.parameters())
    SENT.clear()
    loss, remaining = forward(engine, settings)
    engine.backward(loss)
    gradients = sum(tensor.nbytes for tensor in gradients_of(engine, parameters))
    engine.end_micro_batch()
    engine.backward(forward(engine, settings)[0])
    engine.step(0.001, 1.0)
    sent = dict(SENT)
    groups = engine._backend._optimizer.param_groups
    states = engine._backend._optimizer.state
    staged = Staging(engine.device).copied(engine.parameter_slices())
    weights = storage_bytes([*parameters, *(each.own_weights for each in buckets(engine))])
    masters = [p for group in groups for p in group["params"]] if zero_stage and (kind, dtype) != FLAT_FLOAT32 else []
    engine.close()
    return {
        "weights": weights,
        "gradients": gradients,
        "master_weights": storage_bytes(masters),
        "moments": storage_bytes(
            retained for state in states.values() for name, retained in state.items() if name != "step"
        ),
        "staged": storage_bytes(segment.values for segment in staged),
        "kept": remaining,
        "sent": sent,
    }


def forward(engine: Engine, settings: Optimization) -> tuple[Tensor, int]:
    """The loss of a pass, and the bytes that it keeps for backward in addition to the parameters."""
    length = LENGTH // engine.context.size
    ids = torch.randint(0, 60, (SEQUENCES, length), generator=torch.Generator().manual_seed(dist.get_rank()))
    positions = torch.arange(length).repeat(SEQUENCES, 1)
    batch = Batch(ids, positions, torch.zeros_like(ids, dtype=torch.int32), ids)
    scale = Scale(1.0, 1.0, torch.ones(config().num_layers, config().num_experts))
    weights = {parameter.untyped_storage()._cdata for parameter in engine.model.parameters()}
    remaining: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: remaining.append(tensor) or tensor, lambda tensor: tensor
    ):
        loss, _ = engine.forward(batch, scale, settings, engine.context)
    return loss, storage_bytes(tensor for tensor in remaining if tensor.untyped_storage()._cdata not in weights)


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def buckets(engine: Engine) -> list[Any]:
    """Of the flat engine."""
    return list(getattr(engine._backend, "_buckets", ()))


def gradients_of(engine: Engine, parameters: list[Tensor]) -> list[Tensor]:
    """Tensors that persist from pass to pass: each parameter's gradient, at ZeRO-2 those of this worker's part only."""
    if flat := buckets(engine):
        return [each._gradient for each in flat]
    separate = engine._settings.gradient_dtype != engine._settings.dtype
    if engine._settings.zero_stage < 2:
        return [parameter.grad_accum if separate else parameter.grad for parameter in parameters]
    assert all(parameter.grad is None for parameter in parameters)
    if separate:
        return [parts.flat_partition for parts in engine._backend.zero.averaged_gradients.values()]
    return [part for parts in engine._backend.zero.all_grad_tensors.values() for part in parts]


def count_collectives() -> None:
    """From now on. Before the first engine is made: DeepSpeed keeps the functions that it finds then."""
    for name, argument in INPUTS.items():
        setattr(dist, name, counting(getattr(dist, name), name, argument))


def counting(function: Any, name: str, argument: str) -> Any:
    def counted(*args: Any, **options: Any) -> Any:
        tensor = signature(function).bind(*args, **options).arguments[argument]
        SENT[f"{name} {tensor.dtype}".replace("torch.", "")] += tensor.nbytes
        return function(*args, **options)

    return counted


if __name__ == "__main__":
    main()
