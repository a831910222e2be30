"""Initial weights, drawn by tensor name: the same for any number of workers and any split of the experts."""

import hashlib

import torch
from torch import Tensor, nn

from arctic_model.checkpoint.tensors.names import logical_tensors


def initialize(module: nn.Module, std: float, experts: range, seed: int | None = None) -> None:
    """Set gains of norms to 1, biases and sinks to 0, and draw every matrix from N(0, std^2).

    Args:
        module: any module of this package. Tensors on the meta device are left alone.
        std: `init_std` of the config (the released config's `initializer_range`).
        experts: numbers of the experts that `module` holds.
        seed: equal seeds give equal weights. None draws one from torch's default generator, which
            `torch.manual_seed` controls; workers that share experts need the same seed.
    """
    tensors = [(name, tensor) for name, tensor in logical_tensors(module, experts) if not tensor.is_meta]
    if seed is None and tensors:
        seed = int(torch.randint(2**31, ()))
    with torch.no_grad():
        for name, tensor in tensors:
            set_first_values(name, tensor, std, seed)


def set_first_values(name: str, tensor: Tensor, std: float, seed: int | None) -> None:
    """Set one tensor, by its released name, in place."""
    if name.endswith(("bias", ".sinks")):
        tensor.zero_()
    elif tensor.dim() == 1:
        tensor.fill_(1.0)
    else:
        tensor.copy_(drawn(name, tensor.shape, std, seed))


def drawn(name: str, shape: torch.Size, std: float, seed: int | None) -> Tensor:
    """The first values of the matrix `name`, from N(0, std^2) in float32 on the CPU."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").mul_(std)
