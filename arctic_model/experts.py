"""The experts of one layer as stacked matrices, multiplied group by group."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from arctic_model.feed_forward import swiglu


class Experts(nn.Module):
    """E' local SwiGLU experts: gate `w1` and up `w3` [E', F, D], down `w2` [E', D, F]."""

    def __init__(self, num_local: int, width: int, expert_size: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(num_local, expert_size, width))
        self.w2 = nn.Parameter(torch.empty(num_local, width, expert_size))
        self.w3 = nn.Parameter(torch.empty(num_local, expert_size, width))

    def forward(self, rows: Float[Tensor, "M D"], ends: Int[Tensor, " E"]) -> Float[Tensor, "M D"]:
        """Each expert's output for its own rows; `rows` are sorted by expert and expert e ends before `ends[e]`."""
        inner = swiglu(_grouped(rows, self.w1, ends), _grouped(rows, self.w3, ends))
        return _grouped(inner, self.w2, ends)


def _grouped(rows: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
    """rows[group e] @ matrices[e].T for every e, in one call."""
    return F.grouped_mm(rows, matrices.transpose(1, 2), offs=ends)
