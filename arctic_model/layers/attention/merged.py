"""Attention over parts of the keys, merged by the log-sums of their scores.

A softmax over all keys is the softmax over each part, weighted by the part's share of the sum (Milakov and Gimelshein
2018, arXiv 1805.02867). So each part may use a kernel that holds no matrix of scores. Backward of a part needs of the
others only the merged output and log-sum (Liu et al. 2023, Ring Attention, arXiv 2310.01889, appendix).

The learned sink of a head is such a part too: one key, whose score is the same for all queries, with zeros as its value
(gpt-oss, arXiv 2508.10925, section 2.2). It takes its share of the sum and adds nothing to the output.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from arctic_model.layers.attention.document_mask import Documents, visible_bias

FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
CAUSAL = (-1, 0)
"""Tokens before and after a query that it sees; -1 is no limit."""
SINK_CHANNELS = 8
"""Channels that a key for the sink adds to a head: one in use, and as many as keep rows aligned for torch's kernels."""
SinkLogits: TypeAlias = Tensor
"""The score of the sink of each head, [H, 1], or of any shape that broadcasts to [B, H, T]."""


class KeyPart(NamedTuple):
    """Keys and values [B, G, S, C]. If `is_causal`, query t sees keys 0 to t, otherwise all. `bias`, of a shape that
    broadcasts to [B, H, T, S], is added to the scores."""

    keys: Tensor
    values: Tensor
    is_causal: bool = False
    bias: Tensor | None = None


def attend_to_parts(
    queries: Float[Tensor, "B H T C"], parts: Sequence[KeyPart], sink_logits: SinkLogits | None = None
) -> Float[Tensor, "B H T C"]:
    """The values of all parts, mixed by one softmax over their keys and the sinks. On a CPU; memory grows with T and S.

    Args:
        queries: rotated, as the keys are.
        parts: of all keys.
        sink_logits: of a model with learned sinks.
    """
    heads = [tensor for part in parts for tensor in (part.keys, part.values)]
    biases = [part.bias for part in parts]
    merged: Tensor = _Merged.apply(queries, sink_logits, tuple(part.is_causal for part in parts), *biases, *heads)
    return merged


def attend_to_keys(
    queries: Float[Tensor, "B H T C"],
    part: KeyPart,
    sink_logits: SinkLogits | None = None,
    scale: float | None = None,
) -> Float[Tensor, "B H T V"]:
    """The values of all keys, mixed by their scores, on any device and with gradients.

    Args:
        queries: rotated, as the keys are.
        part: all keys. Its bias may also be boolean: whether a key is seen.
        sink_logits: of a model with learned sinks.
        scale: of the scores. None: 1 / sqrt(C).
    """
    if sink_logits is None:
        return _dot_product_attention(queries, part, scale)
    if part.bias is not None and part.bias.dtype == torch.bool:
        part = part._replace(bias=visible_bias(part.bias, queries.dtype))
    if queries.is_cpu and scale is None:
        return attend_to_parts(queries, [part], sink_logits)
    return _attend_with_sink_key(queries, part, sink_logits, scale or queries.shape[-1] ** -0.5)


def flash_attention(
    queries: Float[Tensor, "R H C"],
    keys: Float[Tensor, "S G C"],
    values: Float[Tensor, "S G C"],
    of_queries: Documents,
    of_keys: Documents,
    sink_logits: SinkLogits | None = None,
) -> Float[Tensor, "R H C"]:
    """Causal attention inside documents, by the kernel of flash attention for sequences of unequal length, which runs
    on a GPU. The last query of a document sees all of its keys.

    Args:
        queries: rotated, as the keys are; one document after the other.
        keys: of the same documents in the same order.
        values: of the same tokens.
        of_queries: the documents of the queries.
        of_keys: the documents of the keys.
        sink_logits: [H, 1], of a model with learned sinks.
    """
    # Imported here because the module imports torch's compiler: two seconds that a CPU never needs.
    from torch.nn.attention.varlen import varlen_attn

    bounds = (of_queries.offsets, of_keys.offsets, of_queries.longest, of_keys.longest)
    if sink_logits is None:
        mixed = varlen_attn(queries, keys, values, *bounds, window_size=CAUSAL, enable_gqa=True)
    else:
        mixed = _FlashWithSinks.apply(queries, keys, values, sink_logits, bounds)
    assert isinstance(mixed, Tensor)
    return mixed


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, sink_logits: Tensor | None, are_causal: tuple[bool, ...], *tensors: Tensor | None
    ) -> Tensor:
        parts = _parts(are_causal, tensors)
        outputs, log_sums = zip(*(_flash_part(queries, part) for part in parts), strict=True)
        log_sum = _with_sinks(torch.stack(log_sums).logsumexp(0), sink_logits)
        shares = ((each - log_sum).exp().unsqueeze(-1) for each in log_sums)
        # In the layout of the kernel's output, so that no copy of it is stored for the product that follows.
        merged = reduce(torch.add, (output * share for output, share in zip(outputs, shares, strict=True)))
        output: Tensor = merged.to(queries.dtype)
        ctx.are_causal = are_causal
        ctx.save_for_backward(queries, sink_logits, output, log_sum, *tensors)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, sink_logits, output, log_sum, *tensors = ctx.saved_tensors
        of_queries, of_heads = torch.zeros_like(queries), []
        for keys, values, is_causal, bias in _parts(ctx.are_causal, tensors):
            inputs = (gradient, queries, keys, values, output, log_sum)
            part = FLASH_BACKWARD(*inputs, 0.0, is_causal, attn_mask=bias)
            of_queries += part[0]
            of_heads += part[1:]
        of_sinks = _sink_gradient(gradient, output, log_sum, sink_logits) if ctx.needs_input_grad[1] else None
        return of_queries, of_sinks, None, *(None for _ in ctx.are_causal), *of_heads


def _parts(are_causal: tuple[bool, ...], tensors: Sequence[Any]) -> list[KeyPart]:
    """From the biases of all parts, and then keys and values of each."""
    biases, heads = tensors[: len(are_causal)], tensors[len(are_causal) :]
    return [KeyPart(*part) for part in zip(heads[::2], heads[1::2], are_causal, biases, strict=True)]


def _flash_part(queries: Tensor, part: KeyPart) -> tuple[Tensor, Tensor]:
    output, log_sum = FLASH(queries, part.keys, part.values, 0.0, part.is_causal, attn_mask=part.bias)
    return output, log_sum


class _FlashWithSinks(torch.autograd.Function):
    """`flash_attention` with sinks. Backward takes the output and the log-sum with sinks instead of the kernel's own:
    then its formula, for the gradient of a score p (v . g - o . g) (Dao et al. 2022, arXiv 2205.14135, appendix B.4),
    is that of the softmax with sinks."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, sink_logits: Tensor, bounds: tuple[Any, ...]
    ) -> Tensor:
        from torch.nn.attention.varlen import AuxRequest, varlen_attn

        options: dict[str, Any] = {"return_aux": AuxRequest(lse=True), "window_size": CAUSAL, "enable_gqa": True}
        mixed, of_keys = varlen_attn(queries, keys, values, *bounds, **options)
        log_sum = _with_sinks(of_keys, sink_logits)
        output = (mixed * (of_keys - log_sum).exp().T.unsqueeze(-1)).to(mixed.dtype)
        ctx.longest = bounds[2:]
        ctx.save_for_backward(queries, keys, values, sink_logits, output, log_sum, *bounds[:2])
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, sink_logits, output, log_sum, *offsets = ctx.saved_tensors
        state = torch.zeros(2, dtype=torch.uint64, device=queries.device)
        inputs = (gradient.contiguous(), queries, keys, values, output, log_sum, *offsets, *ctx.longest)
        of_heads = torch.ops.torch_attn._varlen_attn_backward(*inputs, True, state, None, [*CAUSAL])
        if not ctx.needs_input_grad[3]:
            return *of_heads, None, None
        return *of_heads, _sink_gradient(gradient.transpose(0, 1), output.transpose(0, 1), log_sum, sink_logits), None


def _with_sinks(log_sum: Tensor, sink_logits: Tensor | None) -> Tensor:
    return log_sum if sink_logits is None else torch.logaddexp(log_sum, sink_logits.to(log_sum.dtype))


def _sink_gradient(gradient: Tensor, output: Tensor, log_sum: Tensor, sink_logits: Tensor) -> Tensor:
    """A score with the value v has the gradient p (v . g - o . g), g being that of the output o. A sink's v is zero."""
    shares = (sink_logits - log_sum).exp()
    each = shares * (gradient.to(log_sum.dtype) * output).sum(-1)
    return -each.sum_to_size(sink_logits.shape).to(sink_logits.dtype)


def _attend_with_sink_key(queries: Tensor, part: KeyPart, sink_logits: Tensor, scale: float) -> Tensor:
    """By any of torch's kernels, which add no sinks: queries meet one more key in a channel of its own, so that its
    score is the sink's. It is the first key, which every query sees: of causal ones, those behind an additional first
    one."""
    width, first = queries.shape[-1], int(part.is_causal)
    queries, keys = F.pad(queries, (0, SINK_CHANNELS, first, 0)), F.pad(part.keys, (0, SINK_CHANNELS, 1, 0))
    queries[:, :, first:, width] = sink_logits / scale
    keys[:, :, 0, width] = 1
    bias = None if part.bias is None else F.pad(part.bias, (1, 0))
    with_sink = KeyPart(keys, F.pad(part.values, (0, 0, 1, 0)), part.is_causal, bias)
    return _dot_product_attention(queries, with_sink, scale)[:, :, first:]


def _dot_product_attention(queries: Tensor, part: KeyPart, scale: float | None) -> Tensor:
    keys, values, is_causal, bias = part
    options: dict[str, Any] = {"attn_mask": bias, "is_causal": is_causal, "scale": scale, "enable_gqa": True}
    return F.scaled_dot_product_attention(queries, keys, values, **options)
