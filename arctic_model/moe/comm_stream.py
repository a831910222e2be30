"""The transport of one worker's exchanges, and how long each took.

On a GPU a lane is a stream of its own: an exchange runs beside the computation from its launch on, and only what
reads its rows waits for it. On a CPU the process group's own threads carry it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d


class Crossing(NamedTuple):
    """Seconds of one all-to-all: from this worker's launch to its completion, and how long this worker stood still for
    it. `rows` tells the exchange of rows, which can hide, from that of their counts, which cannot."""

    flight_s: float
    waited_s: float
    rows: bool


class Hiding(NamedTuple):
    """Seconds of exchanges of rows: on the wire, the part of it that workers stood still for, and what they stood still
    for because another worker launched later."""

    wire_s: float
    exposed_s: float
    skew_s: float

    @property
    def hidden_share(self) -> float:
        """1 where every exchange was over before anybody asked for it."""
        return 1 - self.exposed_s / self.wire_s


class Lane:
    """Launches all-to-alls and remembers those that are over until they are taken."""

    def __init__(self) -> None:
        self._over: list[CpuFlight | CudaFlight] = []
        self._stream: torch.cuda.Stream | None = None

    def launch(
        self,
        received: Tensor,
        sent: Tensor,
        arriving: list[int] | None,
        leaving: list[int] | None,
        process_group: Any,
        *,
        rows: bool,
    ) -> "CpuFlight | CudaFlight":
        """Start an exchange. `received` holds what arrives only after the flight's `wait`."""

        def exchange() -> Any:
            return dist.all_to_all_single(received, sent, arriving, leaving, group=process_group, async_op=True)

        if not received.is_cuda:
            return CpuFlight(exchange, sent, self._over, rows)
        if self._stream is None:
            self._stream = torch.cuda.Stream(received.device, priority=-1)
        return CudaFlight(exchange, sent, received, self._stream, self._over, rows)

    def take(self) -> "list[CpuFlight | CudaFlight]":
        """The flights that ended since the last call, in the order in which this worker waited for them."""
        taken = self._over.copy()
        self._over.clear()
        return taken


class CpuFlight:
    def __init__(self, exchange: Callable[[], Any], sent: Tensor, over: list[Any], rows: bool) -> None:
        # `sent` is kept until the exchange is over: the transport reads it after this function has returned.
        self._sent: Tensor | None = sent
        self._over = over
        self._rows = rows
        self._landed = 0.0
        self._launched = time.perf_counter()
        self._work = exchange()
        self._work.get_future().add_done_callback(self._note_landing)

    def wait(self) -> None:
        asked = time.perf_counter()
        self._work.wait()
        self._ended = time.perf_counter()
        self._waited_s = self._ended - asked
        self._sent = self._work = None
        self._over.append(self)

    @property
    def crossing(self) -> Crossing:
        # Who waits may be woken before the thread that notes the landing.
        landed = min(self._landed or self._ended, self._ended)
        return Crossing(landed - self._launched, self._waited_s, self._rows)

    def _note_landing(self, _: Any) -> None:
        self._landed = time.perf_counter()


class CudaFlight:
    """Four events instead of clocks: nothing on the host waits for the GPU, until somebody asks for `crossing`."""

    def __init__(
        self,
        exchange: Callable[[], Any],
        sent: Tensor,
        received: Tensor,
        stream: torch.cuda.Stream,
        over: list[Any],
        rows: bool,
    ) -> None:
        self._over = over
        self._rows = rows
        events = (torch.cuda.Event(enable_timing=True) for _ in range(4))
        self._launched, self._landed, self._asked, self._ended = events
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._launched.record()
            exchange().wait()
            self._landed.record()
        # Their memory belongs to the stream that made them; it may not be given away while this one still uses it.
        for tensor in (sent, received):
            tensor.record_stream(stream)

    def wait(self) -> None:
        self._asked.record()
        torch.cuda.current_stream().wait_event(self._landed)
        self._ended.record()
        self._over.append(self)

    @property
    def crossing(self) -> Crossing:
        self._ended.synchronize()
        flight, waited = self._launched.elapsed_time(self._landed), self._asked.elapsed_time(self._ended)
        return Crossing(flight / 1000, waited / 1000, self._rows)


@contextmanager
def limited_waits(seconds: float) -> Iterator[None]:
    """Let every collective of this process' groups fail after `seconds`: of those that exist, and of those that are
    made inside. Groups that others make, as DeepSpeed does, have torch's limit, half an hour, whatever the default
    group has."""
    limit = timedelta(seconds=seconds)
    for group in distributed_c10d._world.pg_map:
        distributed_c10d._set_pg_timeout(limit, group)
    with patch.object(distributed_c10d, "_get_default_timeout", lambda _: limit):
        yield


def hiding(crossings: list[Crossing], process_group: Any, device: torch.device) -> Hiding | None:
    """How much of these exchanges of rows was hidden, over all workers; None where there were none.

    All workers call it with the same exchanges in the same order. Who launches last waits for nobody, so an exchange's
    time on the wire is the shortest over its workers; what another's took longer is skew, a late launch. No clock is
    compared with another's. Exposed is what a worker would have waited if all had launched with it: what is left of
    the wire's time once it had nothing else to do.
    """
    rows = [crossing for crossing in crossings if crossing.rows]
    if not rows:
        return None
    flights, waits = torch.tensor([crossing[:2] for crossing in rows], dtype=torch.float64, device=device).unbind(1)
    wire = flights.clone()
    dist.all_reduce(wire, dist.ReduceOp.MIN, group=process_group)
    exposed = (waits - (flights - wire)).clamp(min=0)
    sums = torch.stack([wire.sum(), exposed.sum(), (waits - exposed).sum()])
    dist.all_reduce(sums)
    return Hiding(*sums.tolist())
