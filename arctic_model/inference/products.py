"""Products of few rows with weights that stay in memory: on a CPU their time is that of reading the weights."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

PACKED_BYTES = 2**18
"""oneDNN takes 12 microseconds longer to start than torch's own product: smaller weights are read sooner."""
PACKED_ROWS = 64
"""The layout for so many rows is as fast as any other at 1 to 64 rows, and as fast as torch's own product or faster."""


class Product:
    """Weights that multiply the same rows.

    Args:
        weights: [O, D] each.
        biases: one [O] for each weight, or none at all.
        packed: whether a copy is made in the layout that oneDNN reads in order, which torch's own product does not:
            4 rows with 2 MB of float32 take half the time.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor] = (), *, packed: bool = False) -> None:
        self._sizes = [len(weight) for weight in weights]
        if not packed or sum(weight.nbytes for weight in weights) < PACKED_BYTES or not can_pack(weights[0]):
            self._weights = weights
            self._biases: Sequence[Tensor | None] = biases or [None for _ in weights]
            self._packed = None
            return
        self._packed = torch.ops.mkldnn._reorder_linear_weight(torch.cat(list(weights)), PACKED_ROWS)
        self._bias = torch.cat(list(biases)) if biases else None

    def __call__(self, rows: Float[Tensor, "N D"]) -> Sequence[Float[Tensor, "N O"]]:
        """The rows times each weight."""
        if self._packed is None:
            return [F.linear(rows, weight, bias) for weight, bias in zip(self._weights, self._biases, strict=True)]
        together = torch.ops.mkldnn._linear_pointwise.default(rows, self._packed, self._bias, "none", [], "")
        return together.split(self._sizes, dim=1)  # type: ignore[no-any-return]


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN has a layout for the product with such a weight."""
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()
