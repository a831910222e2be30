"""The precision of sums and comparisons."""

import torch
from torch import Tensor, float64


def widened(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is: norms, angles and routing lose too much in half precision."""
    return x if x.dtype is float64 else x.float()


def cpu_multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products in bfloat16, or ones that oneDNN replaces them by. Without
    them (x86 before AVX-512) torch takes some forty times as long as in float32."""
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return supported
