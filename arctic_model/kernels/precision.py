"""The precision of sums and comparisons."""

from torch import Tensor, float64


def widened(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is: norms, angles and routing lose too much in half precision."""
    return x if x.dtype is float64 else x.float()
