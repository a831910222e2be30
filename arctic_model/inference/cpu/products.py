"""Products of few rows with weights that stay in memory: on a CPU their time is that of reading the weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from arctic_model.moe.replicated_moe import Mixture

FEW_ROWS = 8
"""Up to this many rows, compiled kernels read weights sooner than torch and oneDNN: 89, 208 and 237 microseconds for
2.3 MB of float32 and 1 row, 188, 304 and 278 for 8, 504, 410 and 325 for 16 (one core of an AMD EPYC)."""
MAX_THREADS = 2
"""The kernels read 26 GB/s on one core, and torch's product 11 on each of several."""
PACKED_BYTES = 2**18
"""oneDNN takes 12 microseconds longer to start than torch's own product: smaller weights are read sooner."""
PACKED_ROWS = 64
"""The layout for this many rows is as fast as any other at 1 to 64 rows, and as fast as torch's own product or
faster."""


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
        self._arrays = [array(weight) for weight in weights] if reads_rows_fast(weights[0]) and not biases else []
        if not packed or sum(weight.nbytes for weight in weights) < PACKED_BYTES or not can_pack(weights[0]):
            self._weights = weights
            self._biases: Sequence[Tensor | None] = biases or [None for _ in weights]
            self._packed = None
            return
        self._packed = torch.ops.mkldnn._reorder_linear_weight(torch.cat(list(weights)), PACKED_ROWS)
        self._bias = torch.cat(list(biases)) if biases else None

    def __call__(self, rows: Float[Tensor, "N D"]) -> Sequence[Float[Tensor, "N O"]]:
        """The rows times each weight."""
        if self._arrays and len(rows) <= FEW_ROWS:
            from arctic_model.inference.cpu.row_kernels import multiply

            few = rows.contiguous().numpy()
            return [torch.from_numpy(multiply(weight, few)) for weight in self._arrays]
        if self._packed is None:
            return [F.linear(rows, weight, bias) for weight, bias in zip(self._weights, self._biases, strict=True)]
        together = torch.ops.mkldnn._linear_pointwise.default(rows, self._packed, self._bias, "none", [], "")
        return together.split(self._sizes, dim=1)  # type: ignore[no-any-return]


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN has a layout for the product with such a weight."""
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()


class FewRowsMixture:
    """Router and experts for rows of which an expert gets FEW_ROWS or fewer on average.

    Args:
        moe: whose weights `reads_rows_fast`.
    """

    def __init__(self, moe: Mixture) -> None:
        self._arrays = mixture_arrays(moe)
        self._most = FEW_ROWS * len(moe.gate.weight) // moe.gate.top_k

    def takes(self, rows: Float[Tensor, "N D"]) -> bool:
        """Whether the rows are few enough."""
        return len(rows) <= self._most

    def __call__(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        from arctic_model.inference.cpu.row_kernels import mix_experts

        out = torch.zeros_like(rows, memory_format=torch.contiguous_format)
        mix_experts(rows.contiguous().numpy(), out.numpy(), *self._arrays)
        return out


def reads_rows_fast(weight: Tensor) -> bool:
    """Whether `arctic_model.inference.cpu.row_kernels` multiplies few rows by such a weight sooner than torch."""
    is_plain = weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.is_contiguous()
    return is_plain and torch.get_num_threads() <= MAX_THREADS


NONE = np.empty(0, np.float32)
"""Instead of a weight that a model lacks."""


def array(weight: Tensor) -> np.ndarray:
    """The weight's own memory."""
    values: np.ndarray = weight.detach().numpy()
    return values


def mixture_arrays(moe: Mixture) -> tuple[Any, ...]:
    """Router and experts, as `arctic_model.inference.cpu.row_kernels.mix_experts` takes them."""
    bias, experts = moe.gate.e_score_correction_bias, moe.experts
    router = array(moe.gate.weight), NONE if bias is None else array(bias.float()), moe.gate.top_k
    return *router, array(experts.w1), array(experts.w2), array(experts.w3)
