"""The experts of one layer as stacked matrices, multiplied all at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from arctic_model.feed_forward import swiglu_mlp
from arctic_model.row_groups import PaddedGroups
from arctic_model.rows import rearrange

PADDED = {("cpu", torch.bfloat16)}
"""Devices and dtypes for which rows are laid out as PaddedGroups.

On a CPU in bfloat16 grouped_mm goes through oneDNN expert by expert and builds a kernel for every number of rows that
it has not met. In float32 the two are about as fast. A GPU has one kernel for all groups in bfloat16; in float32 torch
has none for it and multiplies group by group. To learn the numbers of rows, the host would wait for the GPU."""


class Experts(nn.Module):
    """E' local SwiGLU experts: gate `w1` and up `w3` [E', F, D], down `w2` [E', D, F]."""

    def __init__(self, num_local: int, width: int, expert_size: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(num_local, expert_size, width))
        self.w2 = nn.Parameter(torch.empty(num_local, width, expert_size))
        self.w3 = nn.Parameter(torch.empty(num_local, expert_size, width))

    def forward(self, rows: Float[Tensor, "M D"], ends: Int[Tensor, " E"]) -> Float[Tensor, "M D"]:
        """Each expert's output for its own rows; `rows` are sorted by expert and expert e ends before `ends[e]`."""
        # grouped_mm refuses to multiply no rows at all.
        if len(rows) and (rows.device.type, rows.dtype) not in PADDED:
            return swiglu_mlp(rows, self.w1, self.w2, self.w3, ends)
        groups = PaddedGroups.of(ends.diff(prepend=ends.new_zeros(1)).tolist())
        places, sources = (index.to(rows.device) for index in groups.places_and_sources())
        outputs = swiglu_mlp(rearrange(rows, sources, places), self.w1, self.w2, self.w3, groups)
        return rearrange(outputs, places, sources)
