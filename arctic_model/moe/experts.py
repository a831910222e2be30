"""The experts of one layer as stacked matrices, multiplied together."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.kernels.row_groups import Groups
from arctic_model.layers.feed_forward import swiglu_mlp


class Experts(nn.Module):
    """E' local SwiGLU experts: gate `w1` and up `w3` [E', F, D], down `w2` [E', D, F]. `fp8`: whether to multiply in
    FP8."""

    def __init__(self, num_local: int, width: int, expert_size: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(num_local, expert_size, width))
        self.w2 = nn.Parameter(torch.empty(num_local, width, expert_size))
        self.w3 = nn.Parameter(torch.empty(num_local, expert_size, width))
        self.fp8 = False

    @property
    def inner_widths(self) -> tuple[int, ...]:
        """Widths between the first and the last matrix."""
        return (self.w1.shape[1],)

    def forward(self, rows: Float[Tensor, "M D"], groups: Groups) -> Float[Tensor, "M D"]:
        """The output of each expert for its own group of rows."""
        return swiglu_mlp(rows, self.w1, self.w2, self.w3, groups, fp8=self.fp8)
