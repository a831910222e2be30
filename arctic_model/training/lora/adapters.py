"""Adapters in a model: `y = x W^T + scale * x A^T B^T`, with W frozen."""

import hashlib
import math
from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.checkpoint.tensors.names import unstacked
from arctic_model.layers.feed_forward import DenseMLP
from arctic_model.model import ArcticModel
from arctic_model.moe.experts import Experts
from arctic_model.training.lora.experts import LoraExperts
from arctic_model.training.lora.frozen import FrozenExperts, FrozenLinear, frozen
from arctic_model.training.lora.products import adapted_product
from arctic_model.training.lora.tokens import TRAINED_TOKENS, train_tokens
from arctic_model.training.optimization.settings import Lora, LoraTarget

MATRICES: dict[LoraTarget, tuple[str, tuple[str, ...]]] = {
    "attention": ("self_attn", ("q_proj", "k_proj", "v_proj", "o_proj")),
    "dense": ("residual_mlp", ("w1", "w2", "w3")),
}
"""Module of a layer, and the matrices in it that get an adapter, without the experts."""
LORA_A, LORA_B = "lora_A", "lora_B"


class LoraLinear(nn.Module):
    """A frozen matrix [D_out, D_in] with its adapter, under the names of PEFT: `weight`, `lora_A.weight`,
    `lora_B.weight`."""

    def __init__(self, linear: nn.Linear, lora: Lora) -> None:
        super().__init__()
        self.weight = frozen(linear.weight, quantize=lora.quantize_base)
        self.bias = linear.bias
        like: dict[str, Any] = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_A = nn.Linear(linear.in_features, lora.rank, bias=False, **like)
        self.lora_B = nn.Linear(lora.rank, linear.out_features, bias=False, **like)
        self.scale = lora.scale
        self.dropout = lora.dropout

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        """The product with the matrix and its adapter."""
        mask = F.dropout(torch.ones_like(x), self.dropout) if self.training and self.dropout else None
        product = adapted_product(x, mask, self.weight, self.lora_A.weight, self.lora_B.weight, self.scale)
        return product if self.bias is None else product + self.bias


class FrozenMLP(nn.Module):
    """The dense MLP (see `arctic_model.layers.feed_forward.DenseMLP`) of frozen matrices, with adapters or without."""

    def __init__(self, w1: nn.Module, w2: nn.Module, w3: nn.Module) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = w1, w2, w3

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """As `DenseMLP.forward`."""
        output: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return output


def add_adapters(model: ArcticModel, lora: Lora, seed: int = 0) -> None:
    """Freeze `model` and give every layer its adapters in place. They change nothing yet: B is zero.

    Args:
        model: its weights may lie on any device. On the meta device, call `draw_adapters` once they have memory.
        lora: the adapters.
        seed: see `draw_adapters`.
    """
    model.requires_grad_(False)
    for layer in model.get_submodule("model.layers").children():
        _adapt_linears(layer.get_submodule("self_attn"), "attention", lora)
        # A model may lack the dense MLP, or the experts.
        parts = dict(layer.named_children())
        if isinstance(mlp := parts.get("residual_mlp"), DenseMLP) and ("dense" in lora.targets or lora.quantize_base):
            _adapt_linears(mlp, "dense", lora)
            layer.add_module("residual_mlp", FrozenMLP(mlp.w1, mlp.w2, mlp.w3))
        if moe := parts.get("block_sparse_moe"):
            experts = cast(Experts, moe.get_submodule("experts"))
            if "experts" in lora.targets:
                moe.add_module("experts", LoraExperts(experts, lora))
            elif lora.quantize_base:
                moe.add_module("experts", FrozenExperts(experts))
    if lora.tokens:
        train_tokens(model, lora.tokens)
    for _, parameter in adapters(model):
        parameter.requires_grad_(True)
    draw_adapters(model, seed)


@torch.no_grad()
def draw_adapters(model: ArcticModel, seed: int) -> None:
    """Set every B to zero, and draw every A by its name and `seed`: uniform within 1 / sqrt(D_in), as PEFT draws it.
    Matrices on the meta device are left alone."""
    for name, tensor in adapter_tensors(model).items():
        if not tensor.is_meta and TRAINED_TOKENS not in name:
            draw_adapter(name, tensor, seed)


def adapters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters of all adapters of a model, and of its trained tokens; those of its local experts are
    stacks."""
    return ((name, parameter) for name, parameter in model.named_parameters() if is_adapter(name))


def adapter_tensors(model: ArcticModel) -> dict[str, Tensor]:
    """A and B of every adapter as checkpoints name them, one per expert, and the rows of trained tokens, sharing memory
    with the model."""
    named = ((name, parameter.detach()) for name, parameter in adapters(model))
    return {name: matrix for stack, tensor in named for name, matrix in unstacked(stack, tensor, model.local_experts)}


def is_adapter(name: str) -> bool:
    """Whether the parameter `name` belongs to an adapter, or to trained tokens.

    >>> is_adapter("model.layers.0.self_attn.q_proj.lora_A.weight"), is_adapter("model.norm.weight")
    (True, False)
    >>> is_adapter("model.layers.0.block_sparse_moe.experts.down_lora_B")
    True
    """
    return any(part in name for part in (LORA_A, LORA_B, TRAINED_TOKENS))


def _adapt_linears(module: nn.Module, target: LoraTarget, lora: Lora) -> None:
    for name in MATRICES[target][1]:
        linear = cast(nn.Linear, module.get_submodule(name))
        if target in lora.targets:
            module.add_module(name, LoraLinear(linear, lora))
        elif lora.quantize_base:
            module.add_module(name, FrozenLinear(linear, quantize=True))


def draw_adapter(name: str, matrix: Tensor, seed: int) -> None:
    """Set the first values of one matrix of an adapter in place, see `draw_adapters`."""
    if LORA_B in name:
        matrix.zero_()
        return
    digest = hashlib.sha256(f"lora/{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
    drawn = torch.rand(matrix.shape, generator=generator, dtype=torch.float32, device="cpu")
    matrix.copy_(drawn.mul_(2).sub_(1).div_(math.sqrt(matrix.shape[1])))
