"""A part of the queries sees in the keys of a whole sequence what it sees in one pass: by pieces, by a kernel for
sequences of unequal length, and by a bias. Several processes are in tests/arctic_model/training."""

import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arctic_model.layers.attention.context_parallel import local_chunks, pieces
from arctic_model.layers.attention.document_mask import document_bias
from arctic_model.layers.attention.grouped_query import attend, attend_in_pieces, attend_piece_by_piece
from arctic_model.layers.attention.merged import KeyPart, attend_to_parts

SEGMENTS = [
    [[0] * 24],
    [[0] * 5 + [1] + [2] * 11 + [3] * 7, [0] * 12 + [1] * 12],
    [[0] * 18 + [-1] * 6, [-1] * 24, [*range(20), -1, -1, -1, -1]],
]
"""Documents of one token, across chunks and rows, ending inside and at the end of a chunk; and padding."""
HEADS = (4, 2, 2)
WORKER = Path(__file__).with_name("context_worker.py")


def leaves(rows: list, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shape = (len(rows), len(rows[0]))
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, count, 8, dtype=dtype, generator=generator).requires_grad_() for count in HEADS]


def own(tensor: Tensor, chunks: tuple[slice, ...]) -> Tensor:
    return torch.cat([tensor[:, chunk] for chunk in chunks], dim=1)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_chunks_cut_a_sequence_once_and_cost_the_same(size: int) -> None:
    chunks = [local_chunks(24, rank, size) for rank in range(size)]
    tokens = [list(itertools.chain(*(range(24)[chunk] for chunk in each))) for each in chunks]
    assert sorted(itertools.chain(*tokens)) == list(range(24))
    assert {sum(token + 1 for token in each) for each in tokens} == {24 * 25 // 2 // size}


@pytest.mark.parametrize("rows", SEGMENTS)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_pieces_have_the_keys_that_a_bias_shows(rows: list, size: int) -> None:
    segments = torch.tensor(rows)
    numbers = torch.arange(segments.numel()).view_as(segments)
    for rank in range(size):
        chunks = local_chunks(24, rank, size)
        result = pieces(segments, chunks)
        visible = own(document_bias(segments, torch.float32)[:, 0], chunks) == 0
        tokens = own(numbers, chunks).flatten()
        for query, (row, token) in enumerate(zip(visible.flatten(0, 1), tokens.tolist(), strict=True)):
            piece = int(torch.bucketize(query, result.offsets, right=True)) - 1
            last = int(result.end[piece]) - (int(result.offsets[piece + 1]) - query - 1)
            seen = range(int(result.first[piece]), last)
            assert seen[-1] == token
            assert [key + token // 24 * 24 for key in row.nonzero().flatten().tolist()] == list(seen)


def unequal(
    q: Tensor, k: Tensor, v: Tensor, of_q: Tensor, of_k: Tensor, longest_q: int, longest_k: int, **rest: object
) -> Tensor:
    """What torch documents of its kernel for sequences of unequal length, which runs on a GPU only: the causal mask
    ends in the lower right corner."""
    assert rest == {"window_size": (-1, 0), "enable_gqa": True}
    assert of_q.dtype == of_k.dtype == torch.int32
    parts = []
    for queries, keys in zip(itertools.pairwise(of_q.tolist()), itertools.pairwise(of_k.tolist()), strict=True):
        num_queries, num_keys = queries[1] - queries[0], keys[1] - keys[0]
        assert num_queries <= longest_q
        assert num_keys <= longest_k
        mask = torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)
        heads = (tensor[slice(*bounds)].transpose(0, 1) for tensor, bounds in ((q, queries), (k, keys), (v, keys)))
        parts.append(F.scaled_dot_product_attention(*heads, attn_mask=mask, enable_gqa=True).transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("rows", SEGMENTS)
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("function", [attend_piece_by_piece, attend_in_pieces])
def test_the_parts_of_all_workers_are_one_pass_forward_and_backward(
    rows: list, size: int, function: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", SimpleNamespace(varlen_attn=unequal))
    segments = torch.tensor(rows)
    expected, result = leaves(rows), leaves(rows)
    whole = attend(*expected, document_bias(segments, torch.float64))
    whole.square().sum().backward()
    for rank in range(size):
        chunks = local_chunks(24, rank, size)
        mixed = function(own(result[0], chunks), *result[1:], pieces(segments, chunks))
        torch.testing.assert_close(mixed, own(whole, chunks), atol=1e-12, rtol=0)
        mixed.square().sum().backward()
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("cuts", [[7], [1, 2, 18]])
def test_parts_of_the_keys_are_merged_into_one_softmax(dtype: torch.dtype, bound: float, cuts: list[int]) -> None:
    q, k, v = (heads.detach().transpose(1, 2).to(dtype).requires_grad_() for heads in leaves([[0] * 24]))
    bounds = [0, *cuts, 24]
    parts = [KeyPart(k[:, :, a:b], v[:, :, a:b], is_causal=False) for a, b in itertools.pairwise(bounds)]
    wide = [heads.detach().double().requires_grad_() for heads in (q, k, v)]
    expected = F.scaled_dot_product_attention(*wide, enable_gqa=True)
    merged = attend_to_parts(q, parts)
    torch.testing.assert_close(merged.double(), expected, atol=bound, rtol=bound)
    required = torch.autograd.grad(expected.square().sum(), wide)
    for one, other in zip(torch.autograd.grad(merged.square().sum(), (q, k, v)), required, strict=True):
        torch.testing.assert_close(one.double(), other, atol=10 * bound, rtol=bound)


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_workers_have_the_loss_and_the_gradients_of_a_long_sequence_alone(tmp_path: Path, size: int) -> None:
    """Each worker asserts that; 2,048 tokens, and documents with odd bounds."""
    command = [sys.executable, str(WORKER), str(size), str(tmp_path / "rendezvous")]
    workers = [subprocess.Popen([*command, str(rank)]) for rank in range(size)]
    assert [worker.wait(timeout=300) for worker in workers] == [0] * size
