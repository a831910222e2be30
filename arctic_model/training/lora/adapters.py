"""Adapters in a model: `y = x W^T + scale * x A^T B^T`, with W frozen."""

import hashlib
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.layers.feed_forward import DenseMLP
from arctic_model.training.optimization.settings import Lora, LoraTarget

MATRICES: dict[LoraTarget, tuple[str, tuple[str, ...]]] = {
    "attention": ("self_attn", ("q_proj", "k_proj", "v_proj", "o_proj")),
    "dense": ("residual_mlp", ("w1", "w2", "w3")),
}
"""Module of a layer, and the matrices in it that get an adapter."""
LORA_A, LORA_B = "lora_A", "lora_B"


class LoraLinear(nn.Module):
    """A frozen matrix [D_out, D_in] with its adapter, under the names of PEFT: `weight`, `lora_A.weight`,
    `lora_B.weight`."""

    def __init__(self, linear: nn.Linear, lora: Lora) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_A = nn.Linear(linear.in_features, lora.rank, bias=False, **like)
        self.lora_B = nn.Linear(lora.rank, linear.out_features, bias=False, **like)
        self.scale = lora.scale
        self.dropout = lora.dropout

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        """The product with the matrix and its adapter."""
        adapted = F.dropout(x, self.dropout) if self.training and self.dropout else x
        return F.linear(x, self.weight, self.bias) + self.scale * F.linear(self.lora_A(adapted), self.lora_B.weight)


class LoraMLP(nn.Module):
    """The dense MLP (see `arctic_model.layers.feed_forward.DenseMLP`) with adapters on its matrices."""

    def __init__(self, mlp: DenseMLP, lora: Lora) -> None:
        super().__init__()
        self.w1 = LoraLinear(mlp.w1, lora)
        self.w2 = LoraLinear(mlp.w2, lora)
        self.w3 = LoraLinear(mlp.w3, lora)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """As `DenseMLP.forward`."""
        output: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return output


def add_adapters(model: nn.Module, lora: Lora, seed: int = 0) -> None:
    """Freeze `model`, an ArcticModel, and give every layer its adapters in place. They change nothing yet: B is zero.

    Args:
        model: its weights may lie on any device, the meta device too.
        lora: the adapters.
        seed: of A, which is drawn by name: uniform within 1 / sqrt(D_in), as PEFT draws it.
    """
    model.requires_grad_(False)
    for layer in model.get_submodule("model.layers").children():
        parts = dict(layer.named_children())
        if "attention" in lora.targets:
            attention = parts["self_attn"]
            for name in MATRICES["attention"][1]:
                attention.add_module(name, LoraLinear(attention.get_submodule(name), lora))  # type: ignore[arg-type]
        # A model may have no dense MLP beside the experts.
        if "dense" in lora.targets and isinstance(mlp := parts.get("residual_mlp"), DenseMLP):
            layer.add_module("residual_mlp", LoraMLP(mlp, lora))
    with torch.no_grad():
        for name, parameter in adapters(model):
            parameter.requires_grad_(True)
            if not parameter.is_meta:
                _initialize(name, parameter, seed)


def adapters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and matrices of all adapters of a model."""
    return ((name, parameter) for name, parameter in model.named_parameters() if is_adapter(name))


def is_adapter(name: str) -> bool:
    """Whether the parameter `name` belongs to an adapter.

    >>> is_adapter("model.layers.0.self_attn.q_proj.lora_A.weight"), is_adapter("model.norm.weight")
    (True, False)
    """
    return f".{LORA_A}." in name or f".{LORA_B}." in name


def _initialize(name: str, parameter: Tensor, seed: int) -> None:
    if f".{LORA_B}." in name:
        parameter.zero_()
        return
    digest = hashlib.sha256(f"lora/{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
    drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float32, device="cpu")
    parameter.copy_(drawn.mul_(2).sub_(1).div_(math.sqrt(parameter.shape[1])))
