"""Send tokens to their experts and back: sort, exchange between the workers of an expert group, and undo both.

An exchange is a pair of autograd functions. `start` launches an all-to-all and `wait` finishes it; the computation
between the two hides it. In backward their roles swap: `wait` launches the reverse exchange and `start` finishes
it. Autograd runs ready nodes in the reverse order of their creation, so the computation that hides an exchange in
forward hides its reverse in backward as well.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arctic_model.kernels.comm_stream import CommStream, CpuHandle, CudaHandle
from arctic_model.kernels.operators import rows_of_assignments, weighted_sum, weighted_sum_backward
from arctic_model.kernels.row_groups import arrange, lay_out
from arctic_model.kernels.rows import ends_of, rearrange
from arctic_model.layers.recomputation import recomputed
from arctic_model.sizing.parallel import require_divided_experts


@dataclass(frozen=True)
class ExpertGroup:
    """The workers that hold one copy of all experts between them.

    Args:
        size: number of workers in the group.
        rank: number of this worker in it.
        process_group: the torch process group of these workers; not used if `size` is 1.
        same_tokens: whether all workers read the same tokens, as in evaluation: see
            `arctic_model.moe.replicated_moe`.
        comm_stream: launches this worker's exchanges.
    """

    size: int = 1
    rank: int = 0
    process_group: Any = None
    same_tokens: bool = False
    comm_stream: CommStream = field(default_factory=CommStream, compare=False)

    def num_local(self, num_experts: int) -> int:
        """Experts per worker.

        Raises:
            ConfigError: if `num_experts` cannot be divided evenly.
        """
        require_divided_experts(self.size, num_experts)
        return num_experts // self.size

    def local_experts(self, num_experts: int) -> range:
        """Numbers of the experts that this worker holds."""
        number = self.num_local(num_experts)
        return range(self.rank * number, (self.rank + 1) * number)


class Route:
    """Order and destinations of the K * N assignments of one layer. Built in two halves, so that the exchange of row
    counts runs between them.

    Assignments are numbered token * K + slot. Rows travel sorted by expert, ties by number. A worker receives one
    block per sender, each sorted by expert, and merges them into one order by expert, in the layout of `groups`; a
    worker that holds all experts gathers its rows in that layout directly.

    Args:
        experts: experts of each token.
        num_experts: E, over all workers.
        group: the workers that share the experts.
        padded: whether rows are laid out as `PaddedGroups`.
        keep_mask: False for dropped assignments; None keeps all.

    Attributes:
        tokens: [A] the token of each row; arbitrary for rows that pad the layout.
        inverse: [N, K] the row of each assignment; the number of rows for a dropped assignment.
        drops: whether assignments may be dropped.
        groups: the rows of each local expert, known after `finish`.
    """

    def __init__(
        self,
        experts: Int[Tensor, "N K"],
        num_experts: int,
        group: ExpertGroup,
        padded: bool,
        keep_mask: Bool[Tensor, "N K"] | None = None,
    ) -> None:
        flat = experts.flatten()
        if keep_mask is not None:
            flat = flat.masked_fill(~keep_mask.flatten(), num_experts)
        self._group, self._padded = group, padded
        by_expert, order = torch.sort(flat, stable=True)
        ends = ends_of(by_expert, num_experts)
        self._counts_handle = self._exchange_counts(ends.diff(prepend=ends.new_zeros(1))) if group.size > 1 else None
        num_rows = len(flat) if keep_mask is None else int(keep_mask.sum())
        tokens, inverse = rows_of_assignments(order, experts.shape[1], num_rows)
        if group.size == 1:
            self.groups = lay_out(ends, num_rows, padded=padded)
            tokens, inverse = arrange(self.groups, tokens, inverse, filler=0)
        self.tokens, self.inverse = tokens, inverse.view_as(experts)
        self.drops = keep_mask is not None

    def finish(self) -> None:
        """Wait for the row counts of the other workers. The first point at which a worker waits for the others."""
        if self._counts_handle is None:
            return
        self._counts_handle.wait()
        arriving = self._arriving_counts.view(self._group.size, -1)
        self.num_sent = self._counts.view(self._group.size, -1).sum(1).tolist()
        self.num_received = arriving.sum(1).tolist()
        num_rows = sum(self.num_received)
        self.groups = lay_out(arriving.sum(0).cumsum(0), num_rows, padded=self._padded)
        local = torch.arange(arriving.shape[1], device=arriving.device).repeat(self._group.size)
        regroup = torch.argsort(torch.repeat_interleave(local, arriving.flatten()), stable=True)
        self.regroup, self.ungroup = arrange(self.groups, regroup, _inverse(regroup), filler=num_rows)

    def _exchange_counts(self, counts: Tensor) -> CpuHandle | CudaHandle:
        self._counts, self._arriving_counts = counts, torch.empty_like(counts)
        launch, group = self._group.comm_stream.launch, self._group.process_group
        return launch(self._arriving_counts, counts, None, None, group, has_rows=False)


@dataclass
class Exchange:
    """One all-to-all of rows on its way, and its reverse in backward."""

    group: ExpertGroup
    num_sent: list[int]
    num_received: list[int]
    pending: tuple[CpuHandle | CudaHandle, Tensor] | None = field(default=None, init=False)

    def launch(self, rows: Float[Tensor, "A D"], *, reverse: bool) -> Float[Tensor, "R D"]:
        """Send `rows`. The returned tensor holds the received rows only after `finish`."""
        leaving, arriving = (self.num_received, self.num_sent) if reverse else (self.num_sent, self.num_received)
        received = rows.new_empty(sum(arriving), rows.shape[1])
        stream, process_group = self.group.comm_stream, self.group.process_group
        handle = stream.launch(received, rows.contiguous(), arriving, leaving, process_group, has_rows=True)
        self.pending = (handle, received)
        return received

    def finish(self) -> Float[Tensor, "R D"]:
        """Wait for the rows that `launch` asked for, and return them."""
        assert self.pending is not None
        handle, received = self.pending
        handle.wait()
        self.pending = None
        return received


def gather_tokens(x: Float[Tensor, "N D"], route: Route) -> Float[Tensor, "A D"]:
    """The row of each assignment of `route`."""
    return recomputed(_GatherTokens.apply, x, route.tokens, route.inverse, route.drops)


def start_dispatch(
    rows: Float[Tensor, "A D"], route: Route, group: ExpertGroup
) -> tuple[Float[Tensor, "R D"], Exchange | None]:
    """Launch the rows to the workers that hold their experts."""
    if group.size == 1:
        return rows, None
    exchange = Exchange(group, route.num_sent, route.num_received)
    return _Start.apply(rows, exchange), exchange


def wait_dispatch(arriving: Float[Tensor, "R D"], exchange: Exchange | None, route: Route) -> Float[Tensor, "M D"]:
    """Wait for the rows of this worker's experts, and return them in the layout of `route.groups`."""
    if exchange is None:
        return arriving
    return rearrange(_Wait.apply(arriving, exchange), route.regroup, route.ungroup)


def start_combine(
    rows: Float[Tensor, "M D"], route: Route, group: ExpertGroup
) -> tuple[Float[Tensor, "R D"], Exchange | None]:
    """Launch the outputs of the experts back to the workers of their tokens."""
    if group.size == 1:
        return rows, None
    exchange = Exchange(group, route.num_received, route.num_sent)
    return _Start.apply(rearrange(rows, route.ungroup, route.regroup), exchange), exchange


def wait_combine(
    arriving: Float[Tensor, "R D"],
    exchange: Exchange | None,
    route: Route,
    weights: Float[Tensor, "N K"],
    *bases: Float[Tensor, "N D"],
) -> Float[Tensor, "N D"]:
    """Wait for the outputs, and return the weighted sum of each token's experts, added to `bases`."""
    rows = arriving if exchange is None else _Wait.apply(arriving, exchange)
    combined: Tensor = _Combine.apply(rows, weights, route.tokens, route.inverse, route.drops, *bases)
    return combined


def _inverse(permutation: Tensor) -> Tensor:
    numbers = torch.arange(len(permutation), device=permutation.device)
    return torch.empty_like(permutation).scatter_(0, permutation, numbers)


class _GatherTokens(torch.autograd.Function):
    """Backward gathers too: a scatter-add is slower, and on a GPU its order of additions is not fixed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tokens: Tensor, inverse: Tensor, drops: bool) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.drops = drops
        return x.index_select(0, tokens)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (inverse,) = ctx.saved_tensors
        return weighted_sum(gradient, inverse, None, [], ctx.drops), None, None, None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weights: Tensor, tokens: Tensor, inverse: Tensor, drops: bool, *bases: Tensor
    ) -> Tensor:
        ctx.save_for_backward(rows, weights, tokens, inverse)
        ctx.drops = drops
        return weighted_sum(rows, inverse, weights, list(bases), drops)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights, tokens, inverse = ctx.saved_tensors
        gradients = weighted_sum_backward(gradient, rows, weights, tokens, inverse, ctx.drops)
        return *gradients, None, None, None, *(gradient for _ in ctx.needs_input_grad[5:])


class _Start(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, exchange: Exchange) -> Tensor:
        ctx.exchange = exchange
        return exchange.launch(rows, reverse=False)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        return ctx.exchange.finish(), None


class _Wait(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, arriving: Tensor, exchange: Exchange) -> Tensor:
        ctx.exchange = exchange
        return exchange.finish().view_as(arriving)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.exchange.launch(gradient, reverse=True)
        # The gradient must have the shape of the rows before the exchange. This one only keeps the order of the graph:
        # `_Start` reads the received gradient from the exchange.
        return gradient, None
