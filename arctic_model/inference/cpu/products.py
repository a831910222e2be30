"""Products of few rows with weights that stay in memory: on a CPU their time is that of reading the weights."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from arctic_model.moe.replicated_moe import Mixture

FEW_ROWS, PACKED_FEW_ROWS = 64, 2
"""Up to this many rows, compiled kernels are faster than torch, and than a packed copy of the weights. 573,000 weights,
1, 4, 8, 16, 32 and 64 rows, one core of an AMD EPYC, microseconds: kernels in float32 63, 114, 174, 224, 312, 495, in
bfloat16 34, 70, 137, 175, 276, 462; torch 142, 199, 239, 322, 486, 820; packed 79, 90, 109, 142, 226, 365."""
PACKED_FEW_EXPERT_ROWS = 8
"""The same for packed experts: torch takes 50 microseconds more for each of them, to gather its rows."""
KERNEL_DTYPES = (torch.float32, torch.bfloat16)
"""Dtypes of weights that the kernels read."""
PACKED_BYTES = 2**18
"""oneDNN takes 12 microseconds longer to start than torch's own product: smaller weights are read sooner."""
PACKED_ROWS = 64
"""The layout for this many rows is as fast as any other at 1 to 64 rows, and as fast as torch's own product or
faster."""


class Product:
    """Weights that multiply the same rows, which are float32 or wider for weights of any dtype.

    Args:
        weights: [O, D] each.
        biases: one [O] for each weight, or none at all.
        packed: whether a copy is made in the layout that oneDNN reads in order, which torch's own product does not:
            4 rows with 2 MB of float32 take half the time.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor] = (), *, packed: bool = False) -> None:
        self._weights, self._sizes = weights, [len(weight) for weight in weights]
        self._biases: Sequence[Tensor | None] = biases or [None for _ in weights]
        self._arrays = [array(weight) for weight in weights] if reads_rows_fast(weights[0]) else []
        self._packed = None
        if packed and sum(weight.nbytes for weight in weights) >= PACKED_BYTES and can_pack(weights[0]):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(torch.cat(list(weights)), PACKED_ROWS)
            self._bias = torch.cat(list(biases)) if biases else None

    def __call__(self, rows: Float[Tensor, "N D"]) -> Sequence[Float[Tensor, "N O"]]:
        """The rows times each weight."""
        if self._arrays and len(rows) <= (FEW_ROWS if self._packed is None else PACKED_FEW_ROWS):
            return self._few(rows.contiguous().numpy())
        if self._packed is None:
            return [_linear(rows, *pair) for pair in zip(self._weights, self._biases, strict=True)]
        together = torch.ops.mkldnn._linear_pointwise.default(rows, self._packed, self._bias, "none", [], "")
        return together.split(self._sizes, dim=1)  # type: ignore[no-any-return]

    def _few(self, rows: np.ndarray) -> list[Tensor]:
        products = [torch.from_numpy(kernels().multiply(weight, rows)) for weight in self._arrays]
        for product, bias in zip(products, self._biases, strict=True):
            if bias is not None:
                product += bias
        return products


def _linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # Narrow weights are widened, and rows never rounded: otherwise results would depend on the number of rows.
    return F.linear(rows, weight.to(rows.dtype), None if bias is None else bias.to(rows.dtype))


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN has a layout for the product with such a weight."""
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()


class FewRowsMixture:
    """Router and experts for rows of which an expert gets few on average.

    Args:
        moe: whose weights `reads_rows_fast`.
        packed: whether the other way is that over packed experts.
    """

    def __init__(self, moe: Mixture, *, packed: bool) -> None:
        from arctic_model.inference.cpu import expert_kernels

        self._mix, self._arrays = expert_kernels.mix_experts, mixture_arrays(moe)
        few = PACKED_FEW_EXPERT_ROWS if packed and can_pack(moe.experts.w1) else FEW_ROWS
        self._most = few * len(moe.gate.weight) // moe.gate.top_k

    def takes(self, rows: Float[Tensor, "N D"]) -> bool:
        """Whether the rows are few enough."""
        return len(rows) <= self._most

    def __call__(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        out = torch.zeros_like(rows, memory_format=torch.contiguous_format)
        # For the threads.
        kernels()
        self._mix(rows.contiguous().numpy(), out.numpy(), *self._arrays)
        return out


def kernels() -> ModuleType:
    """The compiled products, which this thread may call, and all that is made of them: they use as many threads as
    torch."""
    # numba takes 0.4 s to import, and a GPU never decodes here.
    from arctic_model.inference.cpu import row_kernels

    count = torch.get_num_threads()
    row_kernels.use_threads(count)
    if torch.get_num_threads() != count:
        # The first start of numba's threads changes the number of those that torch uses.
        torch.set_num_threads(count)
    return row_kernels


def thread_counts() -> dict[str, int]:
    """Threads that decoding on a CPU has in this process, by the library that computes."""
    return {"torch": torch.get_num_threads(), "numba": kernels().num_threads()}


def reads_rows_fast(weight: Tensor) -> bool:
    """Whether `arctic_model.inference.cpu.row_kernels` multiplies few rows by such a weight sooner than torch."""
    return weight.device.type == "cpu" and weight.dtype in KERNEL_DTYPES and weight.is_contiguous()


NONE = np.empty(0, np.float32)
"""Instead of a weight that a model lacks."""


def array(weight: Tensor) -> np.ndarray:
    """The weight's own memory, that of bfloat16 as uint16."""
    flat = weight.detach()
    values: np.ndarray = (flat.view(torch.uint16) if flat.dtype == torch.bfloat16 else flat).numpy()
    return values


def widened(weight: Tensor) -> np.ndarray:
    """The weight in float32, its own memory if it has that already."""
    values: np.ndarray = weight.detach().float().numpy()
    return values


def mixture_arrays(moe: Mixture) -> tuple[Any, ...]:
    """Router and experts, as `arctic_model.inference.cpu.expert_kernels.mix_experts` takes them."""
    bias, experts = moe.gate.e_score_correction_bias, moe.experts
    router = array(moe.gate.weight), NONE if bias is None else widened(bias), moe.gate.top_k
    return *router, array(experts.w1), array(experts.w2), array(experts.w3)
