"""Tokens that attend to each other: the two representations agree, and attention computes the same by either."""

import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arctic_model.layers.attention import document_mask as masks
from arctic_model.layers.attention import grouped_query
from arctic_model.layers.attention.document_mask import (
    Documents,
    document_bias,
    document_mask,
    documents,
    takes_documents,
)
from arctic_model.layers.attention.grouped_query import Attention, attend, attend_one_by_one
from arctic_model.layers.rotary import rotation
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

SEGMENTS = [
    [[0] * 12],
    [[0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 4], [0] * 5 + [1] * 7],
    [[0] * 9 + [-1] * 3, [-1] * 12, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -1]],
]


def sees(segments: Tensor, t: int, s: int) -> bool:
    """By the flat numbers of two tokens: not later, in the same row and document."""
    length = segments.shape[1]
    flat = segments.flatten()
    return s <= t and s // length == t // length and bool(flat[s] == flat[t])


@pytest.mark.parametrize("rows", SEGMENTS)
def test_documents_and_bias_let_the_same_tokens_see_each_other(rows: list) -> None:
    segments = torch.tensor(rows, dtype=torch.int32)
    batch, length = segments.shape
    offsets, longest = documents(segments)
    bias = document_bias(segments, torch.float32)
    document = torch.bucketize(torch.arange(batch * length), offsets, right=True)
    assert offsets.dtype == torch.int32
    assert int(offsets.diff().max()) <= longest
    for t in range(batch * length):
        for s in range(batch * length):
            expected = sees(segments, t, s)
            assert (s <= t and bool(document[t] == document[s])) == expected
            if s // length == t // length:
                assert float(bias[t // length, 0, t % length, s % length]) == (0.0 if expected else -torch.inf)


def per_document(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    begins: Tensor,
    _: Tensor,
    longest: int,
    __: int,
    *,
    window_size: tuple,
    **rest: bool,
) -> Tensor:
    """The documented semantics of torch's kernel for sequences of unequal length, which runs on a GPU only."""
    assert window_size == (-1, 0), "causal"
    assert rest == {"enable_gqa": True}
    out = torch.empty_like(q)
    for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        assert end - begin <= longest
        parts = (tensor[begin:end].transpose(0, 1) for tensor in (q, k, v))
        out[begin:end] = F.scaled_dot_product_attention(*parts, is_causal=True, enable_gqa=True).transpose(0, 1)
    return out


@pytest.mark.parametrize("rows", SEGMENTS)
def test_attention_by_documents_is_attention_with_a_bias(rows: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", SimpleNamespace(varlen_attn=per_document))
    config = preset("tiny")
    module = Attention(config)
    segments = torch.tensor(rows, dtype=torch.int32)
    x = torch.randn(*segments.shape, config.hidden_size, generator=torch.Generator().manual_seed(0))
    angles = rotation(torch.arange(12).repeat(len(rows), 1), config.rope)
    expected = module(x, angles, document_bias(segments, x.dtype))
    torch.testing.assert_close(module(x, angles, documents(segments)), expected, atol=1e-6, rtol=1e-5)


def test_a_pass_makes_one_mask_in_its_own_dtype_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tensor] = []
    used: list[Tensor | Documents] = []

    def noted(segments: Tensor, dtype: torch.dtype) -> Tensor:
        made.append(document_bias(segments, dtype))
        return made[-1]

    monkeypatch.setattr(masks, "document_bias", noted)
    model = ArcticModel(preset("tiny"), seed=0).bfloat16()
    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(lambda _, inputs: used.append(inputs[2]))
    ids = torch.zeros(1, 12, dtype=torch.long)
    model(ids, torch.arange(12)[None], torch.tensor(SEGMENTS[0]))
    assert [mask.dtype for mask in made] == [torch.bfloat16]
    assert all(mask is made[0] for mask in used)
    assert len(used) == model.config.num_layers


@pytest.mark.parametrize(
    ("dtype", "head_dim", "taken"),
    [
        *((torch.bfloat16, size, True) for size in (8, 64, 72, 128, 256)),
        *((torch.bfloat16, size, False) for size in (2, 10, 12, 100, 132, 264, 512)),
        (torch.float16, 64, True),
        (torch.float32, 64, False),
    ],
)
def test_heads_that_flash_attention_refuses_have_a_bias(dtype: torch.dtype, head_dim: int, taken: bool) -> None:
    assert takes_documents(dtype, head_dim) == taken


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash attention runs on a GPU only")
@pytest.mark.parametrize("rows", SEGMENTS)
def test_flash_attention_by_documents_is_attention_in_float64(rows: list) -> None:
    segments = torch.tensor(rows, dtype=torch.int32, device="cuda")
    assert isinstance(document_mask(segments, torch.bfloat16, 64), Documents)
    generator = torch.Generator().manual_seed(0)
    shapes = [(*segments.shape, heads, 64) for heads in (4, 2, 2, 4)]
    q, k, v, upstream = (torch.randn(shape, generator=generator).cuda().bfloat16() for shape in shapes)
    inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    result = grouped_query.attend_in_documents(*inputs, documents(segments))
    heads = (tensor.transpose(1, 2) for tensor in wide)
    bias = document_bias(segments, torch.float64)
    expected = F.scaled_dot_product_attention(*heads, attn_mask=bias, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(result.double(), expected, atol=2e-2, rtol=2e-2)
    required = torch.autograd.grad(expected, wide, upstream.double())
    for mine, theirs in zip(torch.autograd.grad(result, inputs, upstream), required, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=4e-2, rtol=2e-2)


def dense(q: Tensor, k: Tensor, v: Tensor, segments: Tensor) -> Tensor:
    return attend(q, k, v, document_bias(segments, q.dtype))


@pytest.mark.parametrize("rows", SEGMENTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_document_after_the_other_is_attention_with_a_bias_forward_and_backward(
    rows: list, dtype: torch.dtype
) -> None:
    segments = torch.tensor(rows)
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(*segments.shape, count, 8, dtype=dtype, generator=generator) for count in (4, 2, 2)]
    results = []
    for function in (dense, lambda q, k, v, segments: attend_one_by_one(q, k, v, documents(segments))):
        leaves = [each.clone().requires_grad_() for each in heads]
        mixed = function(*leaves, segments)
        mixed.square().sum().backward()
        results.append([mixed, *(leaf.grad for leaf in leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 if dtype == torch.float32 else 1e-12, rtol=1e-5)


def test_long_sequences_have_no_matrix_and_short_ones_have() -> None:
    masks = [document_mask(torch.zeros(1, length, dtype=torch.long), torch.float32, 8) for length in (1024, 1025)]
    assert [isinstance(mask, Documents) for mask in masks] == [False, True]


@pytest.mark.parametrize("cuts", [[], [600], [5, 900]])
def test_the_loss_of_a_long_sequence_is_that_of_the_dense_path(
    cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ArcticModel(preset("tiny", {"init_std": 0.2, "max_positions": 2048}), seed=0)
    ids = torch.randint(0, 384, (1, 1100), generator=torch.Generator().manual_seed(1))
    segments = torch.bucketize(torch.arange(1100), torch.tensor(cuts, dtype=torch.long), right=True)[None]
    losses, gradients = [], []
    for longest in (1024, 2048):
        monkeypatch.setattr(masks, "LONGEST_BIAS", longest)
        model.zero_grad()
        loss = F.cross_entropy(model(ids[:, :-1], segments=segments[:, :-1])[0], ids[0, 1:])
        loss.backward()
        losses.append(float(loss))
        gradients.append(torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)
