"""Context parallelism: the workers of a group share each sequence, and every one has a part of its tokens.

A sequence is cut into 2 P chunks, and worker i of P has the chunks i and 2 P - 1 - i: later tokens see more keys, and
like this the causal triangle costs all workers the same.

    worker 0   |0 . . . . . . 7|      chunks of P = 4 workers
    worker 1   |. 1 . . . . 6 .|
    worker 2   |. . 2 . . 5 . .|
    worker 3   |. . . 3 4 . . .|

Everything but attention is by token. Attention gathers the keys and values of the whole sequence in every layer, and
backward adds up their gradients over the workers (as for Llama 3, arXiv 2407.21783, section 3.3.2). With grouped
queries these are few beside the queries, and any mask of documents works.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from arctic_model.kernels.comm_stream import CommStream
from arctic_model.layers.attention.document_mask import Documents, document_bias, documents, needs_bias, takes_documents


@dataclass(frozen=True)
class ContextGroup:
    """The workers that share the tokens of each sequence.

    Args:
        size: number of workers in the group.
        rank: number of this worker in it.
        process_group: the torch process group of these workers; not used if `size` is 1.
        comm_stream: launches this worker's exchanges.
    """

    size: int = 1
    rank: int = 0
    process_group: Any = None
    comm_stream: CommStream = field(default_factory=CommStream, compare=False)

    def chunks(self, length: int) -> tuple[slice, ...]:
        """The tokens of this worker in a sequence of `length`."""
        return local_chunks(length, self.rank, self.size)

    def whole(self, part: Tensor) -> Tensor:
        """The tensor [B, T, ...] of which every worker has a part [B, T / P, ...], without gradients."""
        part = part.contiguous()
        parts = part.new_empty(self.size, *part.shape)

        def exchange() -> Any:
            return dist.all_gather_single(parts.flatten(0, 1), part, group=self.process_group, async_op=True)

        self.comm_stream.start(exchange, part, parts, has_rows=False).wait()
        first, second = parts.chunk(2, dim=2)
        return torch.cat([*first, *second.flip(0)], dim=1)

    def summed_part(self, whole: Tensor) -> Tensor:
        """This worker's part of the sum of a tensor [B, T, ...] over the workers."""
        chunks = whole.chunk(2 * self.size, dim=1)
        pairs = zip(chunks[: self.size], reversed(chunks), strict=False)
        parts = torch.stack([torch.cat(pair, dim=1) for pair in pairs])
        own = torch.empty_like(parts[0])

        def exchange() -> Any:
            return dist.reduce_scatter_single(own, parts.flatten(0, 1), group=self.process_group, async_op=True)

        self.comm_stream.start(exchange, parts, own, has_rows=False).wait()
        return own


WHOLE_SEQUENCES = ContextGroup()
"""A worker that has all tokens of its sequences."""


def local_chunks(length: int, rank: int, size: int) -> tuple[slice, ...]:
    """The tokens of worker `rank` of `size` in a sequence of `length`, which 2 * `size` divides.

    >>> [local_chunks(16, rank, 2) for rank in range(2)]
    [(slice(0, 4, None), slice(12, 16, None)), (slice(4, 8, None), slice(8, 12, None))]
    """
    if size == 1:
        return (slice(0, length),)
    chunk = length // (2 * size)
    return tuple(slice(number * chunk, (number + 1) * chunk) for number in (rank, 2 * size - 1 - rank))


class Pieces(NamedTuple):
    """The queries of a worker, cut where a row, a chunk or a document ends. Piece p has queries offsets[p] to
    offsets[p + 1] of the worker's B * T / P, and keys first[p] to end[p] of all B * T: those of its document up to its
    last query. All are int64 on the device."""

    offsets: Tensor
    first: Tensor
    end: Tensor


@dataclass(frozen=True)
class SharedContext:
    """The keys that the queries of a worker see, of its own and of the others: `visible` is a bias [B, 1, T / P, T] or
    pieces."""

    group: ContextGroup
    visible: Tensor | Pieces

    def gather(
        self, keys: Float[Tensor, "B T G C"], values: Float[Tensor, "B T G C"]
    ) -> tuple[Float[Tensor, "B S G C"], Float[Tensor, "B S G C"]]:
        """Keys and values of whole sequences, by one exchange."""
        both: Tensor = _Gather.apply(torch.cat([keys, values], dim=2), self.group)
        num_heads = keys.shape[2]
        return both[:, :, :num_heads], both[:, :, num_heads:]


def shared_context(
    segments: Int[Tensor, "B T"], group: ContextGroup, dtype: torch.dtype, head_dim: int
) -> SharedContext:
    """The mask of a pass over parts of sequences, see `document_mask.document_mask`. On a GPU whose flash attention
    refuses the heads it is a bias for every length.

    Args:
        segments: number of each token's document in its row, of this worker's part.
        group: the workers that share the sequences. All call in step.
        dtype: of the heads.
        head_dim: C.
    """
    whole = group.whole(segments)
    chunks = group.chunks(whole.shape[1])
    if needs_bias(whole, dtype, head_dim) or not (whole.is_cpu or takes_documents(dtype, head_dim)):
        bias = document_bias(whole, dtype)
        return SharedContext(group, torch.cat([bias[:, :, chunk] for chunk in chunks], dim=2))
    return SharedContext(group, pieces(whole, chunks))


def pieces(segments: Int[Tensor, "B T"], chunks: tuple[slice, ...]) -> Pieces:
    """The pieces of queries in these chunks of whole sequences, which are equally long."""
    tokens = torch.arange(segments.numel(), device=segments.device).view_as(segments)
    offsets = documents(segments).offsets.long()
    begins = offsets[torch.bucketize(tokens, offsets, right=True) - 1]
    numbers, begins = (torch.stack([each[:, chunk] for chunk in chunks], dim=1) for each in (tokens, begins))
    is_first = torch.ones_like(begins, dtype=torch.bool)
    is_first[..., 1:] = begins[..., 1:] != begins[..., :-1]
    starts = is_first.flatten().nonzero().flatten()
    bounds = torch.cat([starts, starts.new_tensor([begins.numel()])])
    return Pieces(bounds, begins.flatten()[starts], numbers.flatten()[bounds[1:] - 1] + 1)


def packed_keys(parts: Pieces, length: int) -> tuple[Int[Tensor, " S"], Documents]:
    """Numbers of the keys of all pieces, one piece after the other, and the pieces in that order of keys. `length`: T,
    an upper bound on the keys of a piece."""
    sizes = parts.end - parts.first
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    total = int(offsets[-1])
    shifts = torch.repeat_interleave(parts.first - offsets[:-1], sizes, output_size=total)
    return torch.arange(total, device=sizes.device) + shifts, Documents(offsets.int(), length)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: ContextGroup) -> Tensor:
        ctx.group = group
        return group.whole(part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.group.summed_part(gradient), None
