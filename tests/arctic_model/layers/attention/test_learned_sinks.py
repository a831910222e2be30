"""A learned sink is one more column of the softmax, without a value: in every kernel, mask and part of a sequence."""

import itertools
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from arctic_model.layers.attention.context_parallel import local_chunks, pieces
from arctic_model.layers.attention.document_mask import document_bias, documents
from arctic_model.layers.attention.grouped_query import (
    attend,
    attend_in_documents,
    attend_in_pieces,
    attend_one_by_one,
    attend_piece_by_piece,
)
from arctic_model.layers.attention.merged import KeyPart, attend_to_keys, attend_to_parts
from tests.kit.optional import needs

SEGMENTS = [
    [[0] * 24],
    [[0] * 5 + [1] + [2] * 11 + [3] * 7, [0] * 12 + [1] * 12],
    [[0] * 18 + [-1] * 6, [-1] * 24, [*range(20), -1, -1, -1, -1]],
]
HEADS = (4, 2, 2)
WIDTH = 8
SINKS = (-2.0, 0.5, 1.0, 6.0)


def leaves(rows: list, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Queries, keys and values [B, T, heads, C], and the sinks of the heads [H, 1]."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(rows), len(rows[0]))
    heads = [torch.randn(*shape, count, WIDTH, dtype=dtype, generator=generator) for count in HEADS]
    return [each.requires_grad_() for each in (*heads, torch.tensor(SINKS, dtype=dtype)[:, None])]


def dense(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, visible: Tensor) -> Tensor:
    """The definition: a softmax over the scores [B, H, T, S] and the sink, whose column is dropped."""
    k, v = (heads.repeat_interleave(q.shape[2] // k.shape[2], dim=2) for heads in (k, v))
    scores = torch.einsum("bthc,bshc->bhts", q, k) / math.sqrt(WIDTH)
    scores = scores.masked_fill(~visible, -torch.inf)
    column = sinks.expand(*scores.shape[:3])[..., None]
    weights = torch.cat([scores, column], dim=-1).softmax(-1)[..., :-1]
    return torch.einsum("bhts,bshc->bthc", weights, v)


def visible_keys(segments: Tensor) -> Tensor:
    """[B, 1, T, S]"""
    later = torch.ones(segments.shape[1], segments.shape[1]).triu(1).bool()
    return ((segments[:, :, None] == segments[:, None]) & ~later)[:, None]


def gradients(output: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    upstream = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad(output, inputs, upstream.to(output.dtype))


def flash_forward(
    q: Tensor, k: Tensor, v: Tensor, of_q: Tensor, of_k: Tensor, *_: object, **__: object
) -> tuple[Tensor, ...]:
    """What torch documents of its kernel for sequences of unequal length, which runs on a GPU only: output [R, H, C]
    and log-sums [H, R]; the causal mask ends in the lower right corner."""
    output, log_sum = torch.empty_like(q), q.new_empty(q.shape[1], len(q))
    for queries, keys, weights in _blocks(q, k, of_q, of_k):
        log_sum[:, queries] = weights.logsumexp(-1)
        values = v[keys].repeat_interleave(q.shape[1] // v.shape[1], dim=1)
        output[queries] = torch.einsum("hts,shc->thc", weights.softmax(-1), values)
    nothing = torch.empty(0)
    return output, log_sum, nothing, nothing, nothing


def flash_backward(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    output: Tensor,
    log_sum: Tensor,
    of_q: Tensor,
    of_k: Tensor,
    *_: object,
    **__: object,
) -> tuple[Tensor, ...]:
    """FlashAttention-2 (arXiv 2307.08691), algorithm 2: probabilities from the stored log-sum, and the sum of output
    times gradient from the stored output."""
    assert log_sum.is_contiguous()
    result = [torch.zeros_like(tensor) for tensor in (q, k, v)]
    repeats = q.shape[1] // k.shape[1]
    for queries, keys, scores in _blocks(q, k, of_q, of_k):
        weights = (scores - log_sum[:, queries, None]).exp()
        of_values = torch.einsum("thc,shc->hts", gradient[queries], v[keys].repeat_interleave(repeats, dim=1))
        row_sums = (gradient[queries] * output[queries]).sum(-1).T[..., None]
        of_scores = weights * (of_values - row_sums) / math.sqrt(WIDTH)
        result[0][queries] += torch.einsum("hts,shc->thc", of_scores, k[keys].repeat_interleave(repeats, dim=1))
        for target, each in ((1, (of_scores, q[queries])), (2, (weights, gradient[queries]))):
            per_head = torch.einsum("hts,thc->shc", *each)
            result[target][keys] += per_head.unflatten(1, (-1, repeats)).sum(2)
    return tuple(result)


def _blocks(q: Tensor, k: Tensor, of_q: Tensor, of_k: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Queries and keys of each document, and their masked scores [H, T, S]."""
    for queries, keys in zip(itertools.pairwise(of_q.tolist()), itertools.pairwise(of_k.tolist()), strict=True):
        rows, columns = slice(*queries), slice(*keys)
        num_queries, num_keys = queries[1] - queries[0], keys[1] - keys[0]
        each = k[columns].repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        scores = torch.einsum("thc,shc->hts", q[rows], each) / math.sqrt(WIDTH)
        seen = torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)
        yield rows, columns, scores.masked_fill(~seen, -torch.inf)


@pytest.fixture
def flash_kernels() -> Iterator[None]:
    """Torch's own code for sequences of unequal length, over kernels that a CPU has."""
    if torch.cuda.is_available():
        yield
        return
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", flash_forward, "CPU")
    library.impl("_flash_attention_backward", flash_backward, "CPU")
    yield
    library._destroy()


WHOLE: dict[str, Callable[..., Tensor]] = {
    "a bias": lambda *heads, segments, sinks: attend(*heads, document_bias(segments, heads[0].dtype), sinks),
    "documents, one by one": lambda *heads, segments, sinks: attend_one_by_one(*heads, documents(segments), sinks),
    "documents at once": lambda *heads, segments, sinks: attend_in_documents(*heads, documents(segments), sinks),
}


@pytest.mark.parametrize("rows", SEGMENTS)
@pytest.mark.parametrize("way", WHOLE)
@pytest.mark.usefixtures("flash_kernels")
def test_every_mask_gives_the_softmax_with_one_more_column_forward_and_backward(rows: list, way: str) -> None:
    inputs, segments = leaves(rows), torch.tensor(rows)
    expected = dense(*inputs, visible_keys(segments))
    result = WHOLE[way](*inputs[:3], segments=segments, sinks=inputs[3])
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=0)
    for mine, theirs in zip(gradients(result, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("rows", SEGMENTS)
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("function", [attend_piece_by_piece, attend_in_pieces])
@pytest.mark.usefixtures("flash_kernels")
def test_the_parts_of_all_workers_are_one_pass_and_their_sinks_gradients_add_up(
    rows: list, size: int, function: Callable[..., Tensor]
) -> None:
    inputs, segments = leaves(rows), torch.tensor(rows)
    expected = dense(*inputs, visible_keys(segments))
    expected.square().sum().backward()
    required = [each.grad for each in inputs]
    inputs = leaves(rows)
    for rank in range(size):
        chunks = local_chunks(24, rank, size)
        queries, own = (torch.cat([each[:, chunk] for chunk in chunks], dim=1) for each in (inputs[0], expected))
        mixed = function(queries, *inputs[1:3], pieces(segments, chunks), inputs[3])
        torch.testing.assert_close(mixed, own, atol=1e-12, rtol=0)
        mixed.square().sum().backward()
    for result, gradient in zip(inputs, required, strict=True):
        torch.testing.assert_close(result.grad, gradient, atol=1e-12, rtol=0)


MASKS = {
    "none": lambda: None,
    "for each query": lambda: torch.rand(24, 24, generator=torch.Generator().manual_seed(3)) < 0.7,
    "for each row": lambda: torch.rand(2, 1, 1, 24, generator=torch.Generator().manual_seed(4)) < 0.7,
}


@pytest.mark.parametrize("scale", [None, WIDTH**-0.5], ids=["log-sums", "a key for the sink"])
@pytest.mark.parametrize("kind", [torch.bool, torch.float64])
@pytest.mark.parametrize("mask", MASKS)
def test_a_bias_of_any_shape_and_both_ways_to_add_a_sink(mask: str, kind: torch.dtype, scale: float | None) -> None:
    """A row that sees no key at all gets zeros: its sink takes everything."""
    inputs, shown = leaves([[0] * 24] * 2), MASKS[mask]()
    visible = torch.ones(24, 24, dtype=torch.bool) if shown is None else shown
    expected = dense(*inputs, visible)
    if shown is not None and kind != torch.bool:
        shown = torch.zeros(shown.shape, dtype=kind).masked_fill(~shown, -torch.inf)
    q, k, v = (heads.transpose(1, 2) for heads in inputs[:3])
    result = attend_to_keys(q, KeyPart(k, v, bias=shown), inputs[3], scale).transpose(1, 2)
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=0)
    for mine, theirs in zip(gradients(result, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", [None, WIDTH**-0.5], ids=["log-sums", "a key for the sink"])
def test_a_causal_part_sees_its_past_and_the_sink(scale: float | None) -> None:
    inputs = leaves([[0] * 24])
    expected = dense(*inputs, visible_keys(torch.zeros(1, 24)))
    q, k, v = (heads.transpose(1, 2) for heads in inputs[:3])
    result = attend_to_keys(q, KeyPart(k, v, is_causal=True), inputs[3], scale).transpose(1, 2)
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=0)
    for mine, theirs in zip(gradients(result, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 6e-2)])
@pytest.mark.parametrize("cuts", [[], [7], [1, 2, 18]])
def test_parts_of_the_keys_share_one_sink(dtype: torch.dtype, bound: float, cuts: list[int]) -> None:
    inputs = leaves([[0] * 24], dtype)
    wide = [each.detach().double().requires_grad_() for each in inputs]
    expected = dense(*wide, torch.ones(24, 24, dtype=torch.bool))
    q, k, v = (heads.transpose(1, 2) for heads in inputs[:3])
    parts = [KeyPart(k[:, :, a:b], v[:, :, a:b]) for a, b in itertools.pairwise([0, *cuts, 24])]
    result = attend_to_parts(q, parts, inputs[3]).transpose(1, 2)
    torch.testing.assert_close(result.double(), expected, atol=bound, rtol=bound)
    for mine, theirs in zip(gradients(result, inputs), gradients(expected, wide), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), theirs, atol=bound, rtol=bound)


@needs("transformers")
def test_attention_with_sinks_is_that_of_gpt_oss_in_transformers() -> None:
    from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

    inputs = leaves([[0] * 24] * 2)
    bias = document_bias(torch.zeros(2, 24, dtype=torch.long), torch.float64)
    module = SimpleNamespace(num_key_value_groups=2, sinks=inputs[3].flatten(), training=False)
    heads = (each.transpose(1, 2) for each in inputs[:3])
    theirs, _ = eager_attention_forward(module, *heads, bias, WIDTH**-0.5)
    torch.testing.assert_close(attend(*inputs[:3], bias, inputs[3]), theirs, atol=1e-12, rtol=0)


def test_no_sink_is_one_that_is_infinitely_low_and_a_high_one_takes_everything() -> None:
    *heads, _ = leaves([[0] * 24])
    bias = document_bias(torch.zeros(1, 24, dtype=torch.long), torch.float64)
    without = attend(*heads, bias)
    torch.testing.assert_close(attend(*heads, bias, torch.full((4, 1), -1e4)), without, atol=1e-12, rtol=0)
    torch.testing.assert_close(attend(*heads, bias, torch.zeros(4, 1) + 1e4), torch.zeros_like(without))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash attention runs on a GPU only")
@pytest.mark.parametrize("rows", SEGMENTS)
@pytest.mark.parametrize("way", WHOLE)
def test_a_gpu_gives_the_softmax_with_one_more_column(rows: list, way: str) -> None:
    segments = torch.tensor(rows, device="cuda")
    inputs = [each.detach().cuda().bfloat16().requires_grad_() for each in leaves(rows)]
    wide = [each.detach().double().cpu().requires_grad_() for each in inputs]
    expected = dense(*wide, visible_keys(segments.cpu()))
    result = WHOLE[way](*inputs[:3], segments=segments, sinks=inputs[3])
    torch.testing.assert_close(result.double().cpu(), expected, atol=4e-2, rtol=2e-2)
    upstream = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    required = torch.autograd.grad(expected, wide, upstream.double())
    for mine, theirs in zip(torch.autograd.grad(result, inputs, upstream.cuda().bfloat16()), required, strict=True):
        torch.testing.assert_close(mine.double().cpu(), theirs, atol=8e-2, rtol=4e-2)
