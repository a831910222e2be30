"""Tokens to their experts and back: sort, exchange between the workers of an expert group, and undo both.

An exchange is a pair of autograd functions. `start` launches an all-to-all and `wait` finishes it, and what stands
between the two hides it. In backward their roles swap: `wait` launches the reverse exchange and `start` finishes
it. Autograd runs ready nodes in the reverse order of their creation, so what hid the exchange in forward hides it
in backward as well.
"""

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arctic_model.lane import CpuFlight, CudaFlight, Lane
from arctic_model.recomputation import cheap
from arctic_model.row_groups import arrange, lay_out
from arctic_model.rows import rearrange, take


@dataclass(frozen=True)
class ExpertGroup:
    """The workers that hold one copy of all experts between them: `size` of them, this one has number `rank`. Its
    exchanges go through `lane`."""

    size: int = 1
    rank: int = 0
    process_group: Any = None
    lane: Lane = field(default_factory=Lane, compare=False)

    def num_local(self, num_experts: int) -> int:
        """Experts per worker. Raises ValueError where they cannot be split evenly."""
        if num_experts % self.size:
            raise ValueError(
                f"expert_parallel_size {self.size} does not divide num_experts {num_experts}. Choose a divisor."
            )
        return num_experts // self.size


class Route:
    """Where the K * N assignments of one layer go. Built in two halves: the exchange of counts runs meanwhile.

    Assignments are numbered token * K + slot. `order` lists them by expert, ties by number; rows travel in this
    order. A worker receives one block per sender, each by expert, and brings them into one order by expert, in the
    layout of `groups`; one that holds all experts makes its rows in that layout, K * N where it is only filled up.
    Assignments that are not `kept` have no row: they are in `inverse` only, as the number of rows.
    """

    def __init__(
        self,
        experts: Int[Tensor, "N K"],
        num_experts: int,
        group: ExpertGroup,
        dtype: torch.dtype,
        kept: Bool[Tensor, "N K"] | None = None,
    ) -> None:
        flat = experts.flatten()
        if kept is not None:
            flat = flat.masked_fill(~kept.flatten(), num_experts)
        self._group, self._dtype = group, dtype
        self._counts = torch.bincount(flat, minlength=num_experts)[:num_experts]
        self._arriving_counts = torch.empty_like(self._counts)
        self._flight = self._exchange_counts() if group.size > 1 else None
        order = torch.argsort(flat, stable=True)
        num_rows = len(flat) if kept is None else int(kept.sum())
        self.order, self.inverse = order[:num_rows], _inverse(order).clamp_(max=num_rows)
        if group.size == 1:
            self.groups = lay_out(self._counts, num_rows, dtype)
            self.order, self.inverse = arrange(self.groups, self.order, self.inverse, filler=len(flat))
        self.top_k = experts.shape[1]
        self.drops = kept is not None

    def finish(self) -> None:
        """Learn how many rows come from where. The first point at which a worker waits for the others."""
        if self._flight is None:
            return
        self._flight.wait()
        arriving = self._arriving_counts.view(self._group.size, -1)
        self.num_sent = self._counts.view(self._group.size, -1).sum(1).tolist()
        self.num_received = arriving.sum(1).tolist()
        num_rows = sum(self.num_received)
        self.groups = lay_out(arriving.sum(0), num_rows, self._dtype)
        local = torch.arange(arriving.shape[1], device=arriving.device).repeat(self._group.size)
        regroup = torch.argsort(torch.repeat_interleave(local, arriving.flatten()), stable=True)
        self.regroup, self.ungroup = arrange(self.groups, regroup, _inverse(regroup), filler=num_rows)

    def _exchange_counts(self) -> CpuFlight | CudaFlight:
        group = self._group
        return group.lane.launch(self._arriving_counts, self._counts, None, None, group.process_group, rows=False)


@dataclass
class Exchange:
    """One all-to-all of rows in flight, and its reverse in backward."""

    group: ExpertGroup
    num_sent: list[int]
    num_received: list[int]
    flight: tuple[CpuFlight | CudaFlight, Tensor] | None = field(default=None, init=False)

    def launch(self, rows: Tensor, *, reverse: bool) -> Tensor:
        """Send `rows`. The returned tensor holds the arriving rows only after `finish`."""
        leaving, arriving = (self.num_received, self.num_sent) if reverse else (self.num_sent, self.num_received)
        received = rows.new_empty(sum(arriving), rows.shape[1])
        lane, process_group = self.group.lane, self.group.process_group
        flight = lane.launch(received, rows.contiguous(), arriving, leaving, process_group, rows=True)
        self.flight = (flight, received)
        return received

    def finish(self) -> Tensor:
        """Wait for the rows that `launch` sent for, and return them."""
        assert self.flight is not None
        flight, received = self.flight
        flight.wait()
        self.flight = None
        return received


def gather_tokens(x: Float[Tensor, "N D"], route: Route) -> Float[Tensor, "A D"]:
    """One row per assignment, in the order of `route`."""
    return cheap(_GatherTokens.apply, x, route.order, route.inverse, route.top_k, route.drops)


def start_dispatch(rows: Float[Tensor, "A D"], route: Route, group: ExpertGroup) -> tuple[Tensor, Exchange | None]:
    """Launch the rows to the workers that hold their experts."""
    if group.size == 1:
        return rows, None
    exchange = Exchange(group, route.num_sent, route.num_received)
    return _Start.apply(rows, exchange), exchange


def wait_dispatch(arriving: Tensor, exchange: Exchange | None, route: Route) -> Float[Tensor, "M D"]:
    """The rows of this worker's experts, in the layout of `route.groups`."""
    if exchange is None:
        return arriving
    return rearrange(_Wait.apply(arriving, exchange), route.regroup, route.ungroup)


def start_combine(rows: Float[Tensor, "M D"], route: Route, group: ExpertGroup) -> tuple[Tensor, Exchange | None]:
    """Launch the experts' outputs back to the workers that the tokens came from."""
    if group.size == 1:
        return rows, None
    exchange = Exchange(group, route.num_received, route.num_sent)
    return _Start.apply(rearrange(rows, route.ungroup, route.regroup), exchange), exchange


def wait_combine(
    arriving: Tensor, exchange: Exchange | None, route: Route, weights: Float[Tensor, "N K"]
) -> Float[Tensor, "N D"]:
    """Each token's weighted sum of its experts' outputs."""
    rows = arriving if exchange is None else _Wait.apply(arriving, exchange)
    return _Combine.apply(rows, weights, route.order, route.inverse, route.drops)


def _inverse(permutation: Tensor) -> Tensor:
    numbers = torch.arange(len(permutation), device=permutation.device)
    return torch.empty_like(permutation).scatter_(0, permutation, numbers)


def _by_token(rows: Tensor, order: Tensor, top_k: int) -> Tensor:
    """The row of the token of each assignment; what fills up a layout is the last token's."""
    return rows.index_select(0, (order // top_k).clamp_(max=len(rows) - 1))


class _GatherTokens(torch.autograd.Function):
    """Backward is a gather too: a scatter-add would be slower, and on a GPU its order is not fixed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor, top_k: int, drops: bool) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.top_k, ctx.drops = top_k, drops
        return _by_token(x, order, top_k)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (inverse,) = ctx.saved_tensors
        by_choice = take(gradient, inverse, gaps=ctx.drops).unflatten(0, (-1, ctx.top_k)).unbind(1)
        # A sum over so short an axis takes eight times as long on a CPU in bfloat16 as adding its parts.
        return reduce(torch.add, by_choice), None, None, None, None


class _Combine(torch.autograd.Function):
    """Sum over k of weight[n, k] * rows[inverse[n * K + k]]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor, order: Tensor, inverse: Tensor, drops: bool) -> Tensor:
        outputs = take(rows, inverse, gaps=drops).unflatten(0, weights.shape)
        ctx.save_for_backward(outputs, weights, order)
        return _weighted_sum(outputs, weights.to(rows.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        outputs, weights, order = ctx.saved_tensors
        weights_gradient = torch.stack([(part * gradient).sum(-1) for part in outputs.unbind(1)], dim=1)
        # No weight for what fills up a layout.
        scale = take(weights.flatten(), order, gaps=True).to(gradient.dtype)
        rows_gradient = _by_token(gradient, order, weights.shape[1]).mul_(scale.unsqueeze(-1))
        return rows_gradient, weights_gradient.to(weights.dtype), None, None, None


def _weighted_sum(outputs: Tensor, weights: Tensor) -> Tensor:
    """Choice by choice: torch's batched product of N tiny vectors takes ten times as long on a CPU."""
    total = outputs[:, 0] * weights[:, :1]
    for choice in range(1, outputs.shape[1]):
        total.addcmul_(outputs[:, choice], weights[:, choice : choice + 1])
    return total


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
        # A gradient has the shape of its input, which is that of the rows before the exchange: this one only keeps
        # the order, and `_Start` takes what arrives from the exchange.
        return gradient, None
