"""Whole optimizer steps of one contender: tokens/s, MFU, memory; of ours also a trace of the GPU.

    flat       the product's own step: the flat engine with its norm, clipping and float32 sums of gradients
    deepspeed  the same by DeepSpeed's engine, which is the default until these figures decide
    fp8        flat, with the layers' products in FP8
    fused      the model as it is trained: the operators of arctic_model.kernels.operators by their kernels
    eager      the same model with torch's own operations instead
    compiled   the latter, with attention and dense MLP of each layer by torch.compile
    dense      fused, with one MLP as wide as all that a token passes through
    mixtral    Hugging Face's Mixtral with grouped_mm: the same number and width of experts, no dense MLP

All train in bfloat16 with AdamW on float32 weights, several passes of 4 x 4,096 random tokens a step. All but flat,
deepspeed and fp8 add gradients up in bfloat16. MFU is a share of the peak in bfloat16.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from setting import batch, finish, model_config, now, options, synchronize, torch_operators
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.roofline.ceiling import roofline
from arctic_model.sizing import ParallelConfig, count_parameters, forward_flops_per_token, memory_per_worker
from arctic_model.sizing.step_time import gpu_named
from arctic_model.training.engine import Engine
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Optimization

SEQUENCES, PASSES, STEPS, WARM_UP = 4, 4, 4, 2
BY_ENGINE: Mapping[str, dict[str, Any]] = {
    "flat": {"engine": "flat"},
    "deepspeed": {"engine": "deepspeed"},
    "fp8": {"engine": "flat", "fp8": True},
}
"""Settings of the contenders that train by an engine of the product."""
Loss = Callable[[Batch], Tensor]


def dense(config: ArcticConfig) -> ArcticConfig:
    """The same number of active parameters without experts."""
    return replace(config, num_experts=0, dense_size=config.mlp_size + config.top_k * config.expert_size)


def ours(config: ArcticConfig, device: torch.device, backend: str | None) -> tuple[nn.Module, Loss]:
    """With a `backend`, the dense path is compiled by it: rows of experts have another number at every pass."""
    with torch.device(device):
        model = ArcticModel(config, seed=0).to(torch.bfloat16)
    for layer in model.model.layers if backend else ():
        for name, part in layer.named_children():
            if name != "block_sparse_moe":
                part.compile(backend=backend)
    load = torch.full((len(config.moe_layers), config.num_experts), 0.1, device=device)

    def loss(provided: Batch) -> Tensor:
        count = float(provided.ids.numel() * PASSES)
        return training_loss(model, provided, Scale(count, count, load), Optimization())[0]

    return model, loss


def mixtral(config: ArcticConfig, device: torch.device) -> tuple[nn.Module, Loss]:
    from transformers import MixtralConfig, MixtralForCausalLM

    theirs = MixtralConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.expert_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        num_local_experts=config.num_experts,
        num_experts_per_tok=config.top_k,
        max_position_embeddings=config.max_positions,
        use_cache=False,
    )
    theirs._experts_implementation = "grouped_mm"
    with torch.device(device):
        model = MixtralForCausalLM(theirs).to(torch.bfloat16)
    return model, lambda provided: model(input_ids=provided.ids, labels=provided.ids).loss / PASSES


class Trainer:
    """AdamW on float32 weights, whose copies compute."""

    def __init__(self, model: nn.Module, loss: Loss, batches: Sequence[Batch]) -> None:
        self.parameters = list(model.parameters())
        self.masters = [each.detach().float().requires_grad_() for each in self.parameters]
        self.optimizer = torch.optim.AdamW(self.masters, lr=1e-4, fused=True)
        self.loss, self.batches = loss, batches

    def passes(self) -> None:
        for provided in self.batches:
            self.loss(provided).backward()

    @torch.no_grad()
    def update(self) -> None:
        for master, parameter in zip(self.masters, self.parameters, strict=True):
            assert parameter.grad is not None
            master.grad, parameter.grad = parameter.grad.float(), None
        self.optimizer.step()
        self.optimizer.zero_grad()
        torch._foreach_copy_(self.parameters, self.masters)

    def step(self) -> None:
        self.passes()
        self.update()


class EngineTrainer:
    """An engine of the product as one worker."""

    def __init__(self, config: ArcticConfig, batches: Sequence[Batch], own: Mapping[str, Any]) -> None:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        self.settings = Optimization(dtype="bfloat16", optimizer="adamw", **own)
        self.engine = Engine(config, self.settings, 1, len(batches), training_loss)
        load = torch.full((len(config.moe_layers), config.num_experts), 0.1, device=self.engine.device)
        count = float(sum(provided.ids.numel() for provided in batches))
        self.scale, self.batches = Scale(count, count, load), batches

    def passes(self) -> None:
        for number, provided in enumerate(self.batches):
            if number:
                self.engine.end_micro_batch()
            self.engine.backward(self.engine.forward(provided, self.scale, self.settings)[0])

    def update(self) -> None:
        self.engine.step(1e-4, self.engine.gradient_norm())

    def step(self) -> None:
        self.passes()
        self.update()

    def close(self) -> None:
        """A process that ends with a group may be aborted by its threads."""
        self.engine.close()
        dist.destroy_process_group()


def flops_per_token(config: ArcticConfig, contender: str) -> int:
    """Of training; Mixtral has no dense MLP."""
    flops = forward_flops_per_token(config, config.max_positions)
    return 3 * (flops.total - (flops.dense_mlp if contender == "mixtral" else 0))


def measured(trainer: Trainer | EngineTrainer, device: torch.device, steps: int) -> dict[str, float]:
    """Medians of a step, and of its update alone."""
    for _ in range(WARM_UP):
        trainer.step()
    seconds, updates = [], []
    for _ in range(steps):
        started = now(device)
        trainer.passes()
        between = now(device)
        trainer.update()
        ended = now(device)
        seconds.append(ended - started)
        updates.append(ended - between)
    return {"step_s": sorted(seconds)[steps // 2], "update_s": sorted(updates)[steps // 2]}


def memory(config: ArcticConfig, num_sequences: int, contender: str) -> dict[str, int]:
    """The peak of allocated memory, and the estimate of `arctic size` for this training."""
    parallel = ParallelConfig(
        *(1, 1, config.max_positions, num_sequences, PASSES),
        engine=BY_ENGINE.get(contender, BY_ENGINE["deepspeed"])["engine"],
        zero_stage=1,
        gradient_dtype="float32" if contender in BY_ENGINE else "bfloat16",
        optimizer="adamw",
    )
    expected = memory_per_worker(config, parallel)
    return {"peak_bytes": torch.cuda.max_memory_allocated(), "expected_bytes": expected.total}


def trace(trainer: Trainer, file: Path) -> dict[str, float]:
    """Milliseconds of one pass by kernel, the longest twenty; the whole trace in `file`."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if kind == "cuda" else []
    with torch.profiler.profile(activities=activities) as profile:
        trainer.loss(trainer.batches[0]).backward()
        synchronize(trainer.parameters[0].device)
    profile.export_chrome_trace(str(file))
    busy: Counter[str] = Counter()
    for event in profile.key_averages():
        busy[event.key[:80]] += getattr(event, f"self_{'device' if kind == 'cuda' else 'cpu'}_time_total") / 1000
    return dict(busy.most_common(20))


def contender(name: str, config: ArcticConfig, provided: Any) -> tuple[nn.Module, Loss]:
    if name == "mixtral":
        return mixtral(config, provided.device)
    # On a CPU, whose compiler takes minutes, only the graphs are traced.
    compiler = "aot_eager" if provided.dry else "inductor"
    return ours(config, provided.device, compiler if name == "compiled" else None)


def main() -> None:
    provided = options("model", "contender")
    name = provided.contender
    config = model_config(provided.model, provided.dry)
    if name == "dense":
        config = dense(config)
    sequences, passes, steps = (2, 2, 2) if provided.dry else (SEQUENCES, PASSES, STEPS)
    batches = [batch(config, sequences, provided.device, seed) for seed in range(passes)]
    with torch_operators() if name in ("eager", "compiled") else nullcontext():
        trainer: Trainer | EngineTrainer = (
            EngineTrainer(config, batches, BY_ENGINE[name])
            if name in BY_ENGINE
            else Trainer(*contender(name, config, provided), batches)
        )
        result: dict[str, Any] = measured(trainer, provided.device, steps)
        if isinstance(trainer, Trainer) and name == "fused":
            result["kernels_ms"] = trace(trainer, provided.out / f"trace {provided.model}.json.gz")
    tokens = passes * sequences * config.max_positions
    flops = flops_per_token(config, name) * tokens
    result |= {"tokens_per_s": tokens / result["step_s"], "active_parameters": count_parameters(config).active}
    gpu = None if provided.dry else gpu_named(torch.cuda.get_device_name())
    if gpu:
        result["mfu"] = flops / gpu.bfloat16_flops / result["step_s"]
        if name == "fused":
            result["mfu_ceiling_of_a_pass"] = roofline(config, gpu, sequences).mfu
    if not provided.dry and name != "mixtral":
        result |= memory(config, sequences, name)
    if isinstance(trainer, EngineTrainer):
        trainer.close()
    finish(**result)


if __name__ == "__main__":
    sys.exit(main())
