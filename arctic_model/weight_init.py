"""First weights, drawn by tensor name: the same for any number of workers and any split of the experts."""

import hashlib

import torch
from torch import Tensor

from arctic_model.checkpoint.tensor_names import logical_tensors
from arctic_model.model import ArcticModel


def initialize(model: ArcticModel, seed: int) -> None:
    """Gains of norms to 1, biases of routers to 0, every matrix from N(0, init_std^2) (the released config's
    `initializer_range`)."""
    with torch.no_grad():
        for name, tensor in logical_tensors(model):
            if name.endswith("bias"):
                tensor.zero_()
            elif tensor.dim() == 1:
                tensor.fill_(1.0)
            else:
                tensor.copy_(_normal(name, tensor, seed).mul_(model.config.init_std))


def _normal(name: str, like: Tensor, seed: int) -> Tensor:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
    return torch.randn(like.shape, generator=generator, dtype=torch.float32)
