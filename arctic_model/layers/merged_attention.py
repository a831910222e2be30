"""Attention over parts of the keys, merged by the log-sums of their scores.

A softmax over all keys is the softmax over each part, weighted by the part's share of the sum (Milakov and Gimelshein
2018, arXiv 1805.02867). So each part may use a kernel that holds no matrix of scores. Backward of a part needs of the
others only the merged output and log-sum (Liu et al. 2023, Ring Attention, arXiv 2310.01889, appendix).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class KeyPart(NamedTuple):
    """Keys and values [B, G, S, C]. If `is_causal`, query t sees keys 0 to t, otherwise all."""

    keys: Tensor
    values: Tensor
    is_causal: bool


def attend_to_parts(queries: Float[Tensor, "B H T C"], parts: Sequence[KeyPart]) -> Float[Tensor, "B H T C"]:
    """The values of all parts, mixed by one softmax over their keys. On a CPU; memory grows with T and S."""
    heads = [tensor for part in parts for tensor in (part.keys, part.values)]
    merged: Tensor = _Merged.apply(queries, tuple(part.is_causal for part in parts), *heads)
    return merged


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, are_causal: tuple[bool, ...], *heads: Tensor) -> Tensor:
        parts = list(zip(heads[::2], heads[1::2], are_causal, strict=True))
        outputs, log_sums = zip(*(FLASH(queries, *part[:2], 0.0, part[2]) for part in parts), strict=True)
        log_sum = torch.stack(log_sums).logsumexp(0)
        shares = ((each - log_sum).exp().unsqueeze(-1) for each in log_sums)
        merged = torch.stack([output * share for output, share in zip(outputs, shares, strict=True)]).sum(0)
        output = merged.to(queries.dtype)
        ctx.are_causal = are_causal
        ctx.save_for_backward(queries, output, log_sum, *heads)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, output, log_sum, *heads = ctx.saved_tensors
        of_queries, of_heads = torch.zeros_like(queries), []
        for keys, values, is_causal in zip(heads[::2], heads[1::2], ctx.are_causal, strict=True):
            part = FLASH_BACKWARD(gradient, queries, keys, values, output, log_sum, 0.0, is_causal)
            of_queries += part[0]
            of_heads += part[1:]
        return of_queries, None, *of_heads
