"""The cost of a step on this worker: seconds by part, throughput, memory, hidden exchanges; and profiler traces.

Telemetry does not make the host wait for a GPU: events are read after the next step. The only exception is every tenth
step, which collects the wire times of the exchanges from all workers.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from arctic_model.kernels.comm_stream import CpuHandle, CudaHandle, overlap_statistics
from arctic_model.layers.attention.context_parallel import ContextGroup
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.peak_memory import peak_resident_bytes
from arctic_model.training.history import OpenRecord

REPORT_EVERY_STEPS = 10
"""Steps between two reports of the wire times, which cost two small collectives."""
PARTS = ("data", "forward", "backward", "optimizer", "sums")
"""`sums` is the wait for the one collective that counts a step over all workers."""


@dataclass(frozen=True)
class Work:
    """Work of one step of all workers: `tokens` read, padding included, and `flops` by formula (see
    `arctic_model.sizing.flops.training_flops_per_token`). `peak_flops` of all workers together, None if unknown."""

    tokens: int
    flops: int
    peak_flops: float | None


@dataclass
class _Step:
    """Marks and exchanges of one step, and the record that gets the figures."""

    started: float = field(default_factory=time.perf_counter)
    spans: list[tuple[str, Any, Any]] = field(default_factory=list)
    exchanges: list[tuple[str, CpuHandle | CudaHandle]] = field(default_factory=list)
    seconds: float = 0.0
    record: OpenRecord = field(default_factory=dict)


class Telemetry:
    """Times the parts of each step, and adds the figures to its record after the next step."""

    def __init__(
        self, device: torch.device, group: ExpertGroup, context: ContextGroup, work: Work, first_step: int
    ) -> None:
        self._device = device
        self._group = group
        self._streams = (group.comm_stream, context.comm_stream)
        self._work = work
        self._number = first_step
        self._current: _Step | None = None
        self._ended: _Step | None = None
        self._take_finished()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the block as one of PARTS, which may run several times in a step. Errors get a note of both."""
        step = self._current = self._current or _Step()
        begin = self._mark()
        try:
            yield
        except Exception as error:
            error.add_note(f"in step {self._number}, {name}")
            raise
        step.spans.append((name, begin, self._mark()))
        step.exchanges += [(name, handle) for handle in self._take_finished()]

    def end_step(self, record: OpenRecord) -> float:
        """End the step. Its figures are added to `record` after the next step, or by `flush`. Returns its seconds."""
        self.flush()
        step, self._current = self._current or _Step(), None
        step.record, step.seconds = record, time.perf_counter() - step.started
        record |= {"peak_memory_bytes": _peak_memory_bytes(self._device)}
        if self._number % REPORT_EVERY_STEPS == 0:
            record |= self._report(step)
        self._number += 1
        self._ended = step
        return step.seconds

    def flush(self) -> None:
        """Add the figures of the last step to its record. On a GPU this waits for its events."""
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
        """Overlap of the exchanges of all workers in this step. Empty without exchanges."""
        timings = [handle.timing for _, handle in step.exchanges]
        overlap = overlap_statistics(timings, self._group.process_group, self._device)
        if overlap is None:
            return {}
        return {"comm_hidden_frac": overlap.hidden_share, "comm_wire_s": overlap.wire_s, "comm_skew_s": overlap.skew_s}

    def _take_finished(self) -> list[CpuHandle | CudaHandle]:
        return [handle for stream in self._streams for handle in stream.take_finished()]

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Trace:
    """A profiler trace of a few steps: every operation of this worker, for chrome://tracing or Perfetto.

    Args:
        steps: first and last step; None traces nothing.
        folder: gets `trace-<first>-<last>.json.gz`; it is created if necessary.
        on_written: called with the file.
    """

    def __init__(self, steps: tuple[int, int] | None, folder: Path, on_written: Callable[[Path], None]) -> None:
        self._steps = steps
        self._folder = folder
        self._on_written = on_written
        self._profiler: torch.profiler.profile | None = None

    def before(self, step: int) -> None:
        """Start the trace if it begins with `step`, which comes next."""
        if self._profiler is None and self._steps and self._steps[0] <= step <= self._steps[1]:
            self._profiler = torch.profiler.profile()
            self._profiler.start()

    def after(self, step: int) -> None:
        """Write the file if `step`, which is done, was the last."""
        if self._steps and step >= self._steps[1]:
            self.close()

    def close(self) -> None:
        """Write the file of a running trace."""
        if self._steps is None or self._profiler is None:
            return
        first, last = self._steps
        file = self._folder / f"trace-{first}-{last}.json.gz"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._profiler.stop()
        self._profiler.export_chrome_trace(str(file))
        self._profiler = self._steps = None
        self._on_written(file)


def _seconds(begin: Any, end: Any) -> float:
    if isinstance(begin, float) and isinstance(end, float):
        return end - begin
    end.synchronize()
    elapsed_ms: float = begin.elapsed_time(end) / 1000
    return elapsed_ms


def _peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of this process: allocated by torch on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()
