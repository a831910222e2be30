"""What a step costs on this worker: seconds by part, throughput, memory, and how much of its exchanges was hidden.

Nothing here makes the host wait for a GPU: events are read when the next step is over. The only exception are the
report steps, every tenth, which ask all workers how long the exchanges were on the wire.
"""

import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from arctic_model.moe.comm_stream import CpuHandle, CudaHandle, overlap_statistics
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.training.history import OpenRecord

REPORT_EVERY_STEPS = 10
"""Between two looks at the wire: they cost two small collectives."""
PARTS = ("data", "forward", "backward", "optimizer", "sums")
"""`sums` is the wait for the one collective that counts a step over all workers."""


@dataclass(frozen=True)
class Work:
    """What one step of all workers amounts to: positions read, and floating-point operations by formula (see
    `flops.training_flops_per_token`). `peak_flops` of all workers together, None where nobody stated one."""

    tokens: int
    flops: int
    peak_flops: float | None


@dataclass
class _Step:
    """Spans of one step, as they were marked, and the record that they will be entered into."""

    started: float = field(default_factory=time.perf_counter)
    spans: list[tuple[str, Any, Any]] = field(default_factory=list)
    exchanges: list[tuple[str, CpuHandle | CudaHandle]] = field(default_factory=list)
    seconds: float = 0.0
    record: OpenRecord = field(default_factory=dict)


class Telemetry:
    """Times the parts of each step, and enters the figures into its record when the next step is over."""

    def __init__(self, device: torch.device, group: ExpertGroup, work: Work, first_step: int) -> None:
        self._device = device
        self._group = group
        self._work = work
        self._number = first_step
        self._current: _Step | None = None
        self._ended: _Step | None = None
        group.comm_stream.take_finished()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens inside as one of PARTS; a part may come several times in a step. An error is given a note
        of where it came."""
        step = self._current = self._current or _Step()
        begin = self._mark()
        try:
            yield
        except Exception as error:
            error.add_note(f"in step {self._number}, {name}")
            raise
        step.spans.append((name, begin, self._mark()))
        step.exchanges += [(name, handle) for handle in self._group.comm_stream.take_finished()]

    def end_step(self, record: OpenRecord) -> float:
        """The step is done. Its figures enter `record` when the next one is, or at `settle`. Returns its seconds."""
        self.settle()
        step, self._current = self._current or _Step(), None
        step.record, step.seconds = record, time.perf_counter() - step.started
        record |= {"peak_memory_bytes": _peak_memory_bytes(self._device)}
        if self._number % REPORT_EVERY_STEPS == 0:
            record |= self._report(step)
        self._number += 1
        self._ended = step
        return step.seconds

    def settle(self) -> None:
        """Enter the figures of the step that ended last. On a GPU this waits for its events."""
        if self._ended is not None:
            self._ended.record |= self._figures(self._ended)
            self._ended = None

    def _figures(self, step: _Step) -> dict[str, float]:
        waited: Counter[str] = Counter()
        for name, handle in step.exchanges:
            waited[name] += handle.timing.waited_s  # type: ignore[assignment]
        spans: Counter[str] = Counter()
        for name, begin, end in step.spans:
            spans[name] += _seconds(begin, end)  # type: ignore[assignment]
        computed = {f"{name}_s": spans[name] - waited[name] for name in PARTS if name != "sums"}
        rates = {"tokens_per_s": self._work.tokens / step.seconds}
        if self._work.peak_flops is not None:
            rates["mfu"] = self._work.flops / step.seconds / self._work.peak_flops
        cost = {"step_s": step.seconds, "num_workers": dist.get_world_size()}
        return cost | computed | {"exposed_comm_s": spans["sums"] + waited.total()} | rates

    def _report(self, step: _Step) -> dict[str, float]:
        """All workers' exchanges of this step. Without any there is nothing to report."""
        timings = [handle.timing for _, handle in step.exchanges]
        overlap = overlap_statistics(timings, self._group.process_group, self._device)
        if overlap is None:
            return {}
        return {"comm_hidden_frac": overlap.hidden_share, "comm_wire_s": overlap.wire_s, "comm_skew_s": overlap.skew_s}

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _seconds(begin: Any, end: Any) -> float:
    if isinstance(begin, float):
        return end - begin
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def _peak_memory_bytes(device: torch.device) -> int:
    """The most that this process held since its start: on a GPU of torch's memory there, else of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
