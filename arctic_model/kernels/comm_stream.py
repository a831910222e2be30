"""The communication stream of one worker: it starts exchanges and times them.

On a GPU the stream is a CUDA stream: an exchange overlaps with the computation from its launch on, and only the kernels
that read its rows wait for it. On a CPU the threads of the process group carry the exchange.
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


class TransferTiming(NamedTuple):
    """Timing of one all-to-all on one worker, in seconds.

    `transfer_s` runs from this worker's launch to the completion, `waited_s` is how long this worker was idle for it.
    `has_rows` is False for an exchange of row counts, which nothing can hide.
    """

    transfer_s: float
    waited_s: float
    has_rows: bool


class OverlapStatistics(NamedTuple):
    """Seconds of the exchanges of rows, summed over workers: time on the wire, the part of it that workers waited for,
    and the waits caused by a worker that launched late."""

    wire_s: float
    exposed_s: float
    skew_s: float

    @property
    def hidden_share(self) -> float:
        """Share of the wire time that computation hid; 1 if no worker ever waited for a transfer."""
        return 1 - self.exposed_s / self.wire_s


class CommStream:
    """Launches exchanges and collects the handles of the finished ones."""

    def __init__(self) -> None:
        self._finished: list[CpuHandle | CudaHandle] = []
        self._stream: torch.cuda.Stream | None = None

    def launch(
        self,
        received: Tensor,
        sent: Tensor,
        receive_sizes: list[int] | None,
        send_sizes: list[int] | None,
        process_group: Any,
        *,
        has_rows: bool,
    ) -> "CpuHandle | CudaHandle":
        """Start an all-to-all. `received` is valid only after `wait` of the returned handle."""

        def exchange() -> Any:
            return dist.all_to_all_single(received, sent, receive_sizes, send_sizes, group=process_group, async_op=True)

        return self.start(exchange, sent, received, has_rows=has_rows)

    def start(
        self, exchange: Callable[[], Any], sent: Tensor, received: Tensor, *, has_rows: bool
    ) -> "CpuHandle | CudaHandle":
        """Start `exchange`, which launches a collective from `sent` to `received` and returns its work."""
        if not received.is_cuda:
            return CpuHandle(exchange, sent, self._finished, has_rows)
        if self._stream is None:
            self._stream = torch.cuda.Stream(received.device, priority=-1)
        return CudaHandle(exchange, sent, received, self._stream, self._finished, has_rows)

    def take_finished(self) -> "list[CpuHandle | CudaHandle]":
        """The handles of the exchanges that ended since the last call, in the order in which this worker waited."""
        finished = self._finished.copy()
        self._finished.clear()
        return finished


class CpuHandle:
    """Handle of one exchange on a CPU."""

    def __init__(self, exchange: Callable[[], Any], sent: Tensor, finished: list[Any], has_rows: bool) -> None:
        # `sent` is held until the exchange is over: the transport reads it after this function has returned.
        self._sent: Tensor | None = sent
        self._finished = finished
        self._has_rows = has_rows
        self._completed = 0.0
        self._launched = time.perf_counter()
        self._work = exchange()
        if has_rows:  # The others' time on the wire is reported to nobody, and gloo's reduce-scatter has no future.
            self._work.get_future().add_done_callback(self._note_completion)

    def wait(self) -> None:
        """Block until the rows are here."""
        wait_begin = time.perf_counter()
        self._work.wait()
        self._wait_end = time.perf_counter()
        self._waited_s = self._wait_end - wait_begin
        self._sent = self._work = None
        self._finished.append(self)

    @property
    def timing(self) -> TransferTiming:
        """Available after `wait`."""
        # A waiting thread may wake up before the thread that notes the completion.
        completed = min(self._completed or self._wait_end, self._wait_end)
        return TransferTiming(completed - self._launched, self._waited_s, self._has_rows)

    def _note_completion(self, _: Any) -> None:
        self._completed = time.perf_counter()


class CudaHandle:
    """Handle of one exchange on a GPU, timed by four events: the host waits for the GPU only in `timing`."""

    def __init__(
        self,
        exchange: Callable[[], Any],
        sent: Tensor,
        received: Tensor,
        stream: torch.cuda.Stream,
        finished: list[Any],
        has_rows: bool,
    ) -> None:
        self._finished = finished
        self._has_rows = has_rows
        events = (torch.cuda.Event(enable_timing=True) for _ in range(4))
        self._launched, self._completed, self._wait_begin, self._wait_end = events
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._launched.record()
            exchange().wait()
            self._completed.record()
        # The allocator must not reuse the memory of these tensors while this stream still reads or writes them.
        for tensor in (sent, received):
            tensor.record_stream(stream)

    def wait(self) -> None:
        """Let the current stream wait for the rows; the host goes on."""
        self._wait_begin.record()
        torch.cuda.current_stream().wait_event(self._completed)
        self._wait_end.record()
        self._finished.append(self)

    @property
    def timing(self) -> TransferTiming:
        """Available after `wait`; blocks the host until the GPU has passed it."""
        self._wait_end.synchronize()
        transfer_ms = self._launched.elapsed_time(self._completed)
        waited_ms = self._wait_begin.elapsed_time(self._wait_end)
        return TransferTiming(transfer_ms / 1000, waited_ms / 1000, self._has_rows)


@contextmanager
def collective_timeout(seconds: float) -> Iterator[None]:
    """Make every collective of this process fail after `seconds`, in existing groups and in groups made inside.

    Groups made by other libraries, such as DeepSpeed, otherwise have torch's limit of half an hour, regardless of the
    limit of the default group.
    """
    limit = timedelta(seconds=seconds)
    for group in distributed_c10d._world.pg_map:
        distributed_c10d._set_pg_timeout(limit, group)
    with patch.object(distributed_c10d, "_get_default_timeout", lambda _: limit):
        yield


def overlap_statistics(
    timings: list[TransferTiming], process_group: Any, device: torch.device
) -> OverlapStatistics | None:
    """How much of these exchanges of rows was hidden, over all workers.

    The worker that launches last waits for nobody, so the wire time of an exchange is its shortest transfer time over
    the workers. Any extra time of another worker's transfer is skew. No two clocks are compared. Exposed is the time a
    worker would have waited if all workers had launched together.

    Args:
        timings: this worker's exchanges. Every worker passes the same exchanges in the same order.
        process_group: the workers that took part in each exchange.
        device: the device of the collectives.

    Returns:
        Sums over the default process group, None if `timings` holds no exchange of rows.
    """
    pairs = [(timing.transfer_s, timing.waited_s) for timing in timings if timing.has_rows]
    if not pairs:
        return None
    transfers, waits = torch.tensor(pairs, dtype=torch.float64, device=device).unbind(1)
    wire = transfers.clone()
    dist.all_reduce(wire, dist.ReduceOp.MIN, group=process_group)
    exposed = (waits - (transfers - wire)).clamp(min=0)
    sums = torch.stack([wire.sum(), exposed.sum(), (waits - exposed).sum()])
    dist.all_reduce(sums)
    return OverlapStatistics(*sums.tolist())
