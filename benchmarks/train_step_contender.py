"""One contender of train_step.py in a separate process: `train_step_contender.py NAME`.

Answers each line of stdin, a JSON object, with a line of JSON. `{"build": setting, "warm_up": n}` makes the model again
and takes n steps; `{"step": n}` gives the seconds of n whole steps, `{"experts": n}` those of n passes, forward and
backward, of the expert block of the first layer alone, `{"profile": n}` the share of each kind of GPU work in n steps.
"""

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.layer import ArcticLayer, LayerOutput
from arctic_model.layers.attention.document_mask import document_mask
from arctic_model.layers.attention.grouped_query import Attention
from arctic_model.layers.feed_forward import DenseMLP, swiglu_mlp
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.rotary import rotation
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.training.engine import Engine
from arctic_model.training.losses.cross_entropy import head_nll
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.process import reuse_freed_memory

GPU_WORK = {
    "grouped products": r"group",
    "attention": r"flash|fmha|attention|sdpa",
    "other products": r"gemm|cutlass|nvjet|xmma|splitk",
    "optimizer": r"adam|multi_tensor",
    "routing and rows": r"sort|radix|scan|topk|index|gather|scatter|histogram|bincount",
    "copies": r"memcpy|memset|copy",
}
"""Kinds of GPU work and parts of their kernels' names, the first that fits; all else is elementwise or a reduction."""


class HuggingFaceBlock(nn.Module):
    """Mixtral's sparse block, which routes by itself."""

    def __init__(self, config: ArcticConfig, implementation: str) -> None:
        super().__init__()
        from transformers.models.mixtral.modeling_mixtral import MixtralConfig, MixtralSparseMoeBlock

        theirs = MixtralConfig(
            hidden_size=config.hidden_size,
            intermediate_size=config.expert_size,
            num_local_experts=config.num_experts,
            num_experts_per_tok=config.top_k,
        )
        theirs._experts_implementation = implementation
        self.block = MixtralSparseMoeBlock(theirs)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.block(tokens[None])[0]


class DeepSpeedBlock(nn.Module):
    """`deepspeed.moe.layer.MoE` that drops no token and adds no noise."""

    def __init__(self, config: ArcticConfig) -> None:
        super().__init__()
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
        # The stub that makes it importable without a compiler.
        from arctic_model.training.engine.deepspeed_setup import import_deepspeed

        expert = SwiGLUModule(config.hidden_size, config.expert_size)
        self.block = import_deepspeed().moe.layer.MoE(
            config.hidden_size,
            expert,
            config.num_experts,
            k=config.top_k,
            drop_tokens=False,
            min_capacity=0,
            use_rts=False,
            top2_2nd_expert_sampling=False,
        )
        self.block.set_deepspeed_parallelism()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.block(tokens)[0]


class SwiGLUModule(nn.Module):
    """A plain module, as DeepSpeed copies for each expert."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)
        self.w3 = nn.Linear(width, inner, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class DenseBlock(SwiGLUModule):
    """The active width of the experts, as one MLP: the floor."""

    def forward(self, tokens: Tensor) -> Tensor:
        return swiglu_mlp(tokens, self.w1.weight, self.w2.weight, self.w3.weight)


BLOCKS: dict[str, Callable[[ArcticConfig], nn.Module]] = {
    "mixtral": lambda config: HuggingFaceBlock(config, "grouped_mm"),
    "mixtral eager": lambda config: HuggingFaceBlock(config, "eager"),
    "deepspeed": DeepSpeedBlock,
    "dense": lambda config: DenseBlock(config.hidden_size, config.top_k * config.expert_size),
}


class PeerLayer(nn.Module):
    """Our layer with another expert block."""

    def __init__(self, config: ArcticConfig, block: nn.Module) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, eps)
        self.self_attn = Attention(config)
        self.residual_layernorm = RMSNorm(width, eps)
        self.residual_mlp = DenseMLP(width, config.mlp_size)
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.block = block

    def forward(self, x: Tensor, angles: Any, mask: Any) -> LayerOutput:
        attended = x + self.self_attn(self.input_layernorm(x), angles, mask)
        dense = attended + self.residual_mlp(self.residual_layernorm(attended))
        mixed = self.block(self.post_attention_layernorm(x).flatten(0, 1))
        return LayerOutput(dense + mixed.view_as(dense), None)


class Model(nn.Module):
    """The backbone that all contenders share, and the loss of the next token."""

    def __init__(self, config: ArcticConfig, new_layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(new_layer() for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embed_tokens(ids)
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        angles = rotation(positions, self.config.rope)
        mask = document_mask(torch.zeros_like(ids, dtype=torch.int32), hidden.dtype, self.config.head_dim)
        for layer in self.layers:
            hidden = layer(hidden, angles, mask).hidden
        targets = ids.roll(-1, dims=1)
        nll, *_ = head_nll(self.norm(hidden).flatten(0, 1), self.lm_head.weight, targets.flatten())
        return nll / ids.numel()


@dataclass
class Contender:
    """A model under training with random ids, new ones each step."""

    name: str
    config: ArcticConfig
    shape: tuple[int, int]
    device: torch.device
    dtype: torch.dtype

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        with self.device:
            self.model = Model(self.config, self._new_layer).to(self.dtype)
            for parameter in self.model.parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, std=self.config.init_std)
            # Tokens that differ in every layer, so that loads are as even as under a balance loss: an untrained router
            # sends most similar tokens to a few experts.
            nn.init.normal_(self.model.embed_tokens.weight)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def _new_layer(self) -> nn.Module:
        if self.name == "ours":
            return ArcticLayer(self.config, ExpertGroup())
        return PeerLayer(self.config, BLOCKS[self.name](self.config))

    def step(self) -> float:
        """Seconds of one optimizer step."""
        ids = torch.randint(0, self.config.vocab_size, self.shape, device=self.device)
        started = self._now()
        self.model(ids).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self._now() - started

    def experts(self) -> float:
        """Seconds of forward and backward of the first layer's expert block on normed random tokens."""
        layer = self.model.layers[0]
        shape = (self.shape[0] * self.shape[1], self.config.hidden_size)
        tokens, upstream = torch.randn(2, *shape, device=self.device).to(self.dtype).unbind()
        tokens.requires_grad_()
        started = self._now()
        outputs = layer.block_sparse_moe(tokens) if self.name == "ours" else layer.block(tokens)
        outputs.backward(upstream)
        seconds = self._now() - started
        self.optimizer.zero_grad()
        return seconds

    def profile(self, num_steps: int) -> dict[str, float]:
        """Share of wall time of each kind of GPU work; the rest is idle time of the GPU."""
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profiled:
            seconds = sum(self.step() for _ in range(num_steps))
        busy: Counter[str] = Counter()
        for event in profiled.key_averages():
            kinds = (kind for kind, pattern in GPU_WORK.items() if re.search(pattern, event.key.lower()))
            busy[next(kinds, "elementwise and reductions")] += event.self_device_time_total / 1e6
        shares = {kind: time / seconds for kind, time in busy.most_common()}
        return shares | {"GPU waits": 1 - sum(shares.values())}

    def _now(self) -> float:
        """On a CPU the time of this process alone: others may share the machine."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


class EngineContender:
    """Our model as a run on one worker trains it."""

    def __init__(self, name: str, config: ArcticConfig, shape: tuple[int, int], dtype: str) -> None:
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
        self.config, self.shape = config, shape
        self.settings = Optimization(optimizer=name.removeprefix("engine "), dtype=dtype)  # type: ignore[arg-type]
        self.engine = Engine(config, self.settings, 1, 1, training_loss)

    def step(self) -> float:
        """CPU seconds of one optimizer step."""
        ids = torch.randint(0, self.config.vocab_size, self.shape)
        positions = torch.arange(ids.shape[1]).expand_as(ids)
        batch = Batch(ids, positions, torch.zeros_like(ids, dtype=torch.int32), ids.roll(-1, dims=1))
        share = self.config.top_k / self.config.num_experts
        load = torch.full((self.config.num_layers, self.config.num_experts), share)
        started = time.process_time()
        loss, _ = self.engine.forward(batch, Scale(float(ids.numel()), float(ids.numel()), load), self.settings)
        self.engine.backward(loss)
        self.engine.step(1e-4, self.engine.gradient_norm())
        return time.process_time() - started


def answer(contender: Contender | EngineContender, request: dict[str, int]) -> Any:
    if isinstance(contender, EngineContender):
        return [contender.step() for _ in range(request["step"])]
    if "profile" in request:
        return contender.profile(request["profile"])
    ((what, repeats),) = request.items()
    measure = {"step": contender.step, "experts": contender.experts}[what]
    return [measure() for _ in range(repeats)]


def build(name: str, setting: dict[str, Any]) -> Contender | EngineContender:
    config = ArcticConfig.from_dict(setting["config"])
    if name.startswith("engine"):
        return EngineContender(name, config, tuple(setting["shape"]), setting["dtype"])
    return Contender(
        name, config, tuple(setting["shape"]), torch.device(setting["device"]), getattr(torch, setting["dtype"])
    )


def main() -> None:
    # Libraries print to stdout; answers go to the original stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender: Contender | EngineContender | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "build" in request:
                contender = None
                contender = build(sys.argv[1], request["build"])
                result: Any = [contender.step() for _ in range(request["warm_up"])]
            else:
                result = answer(contender, request) if contender else "out of memory"
        except torch.cuda.OutOfMemoryError:
            contender, result = None, "out of memory"
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    reuse_freed_memory()
    main()
