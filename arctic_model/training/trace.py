"""A profiler's trace of a few steps, on request: every operation of worker 0, for chrome://tracing or Perfetto."""

from collections.abc import Callable
from pathlib import Path

import torch


class Trace:
    """Traces steps `first` to `last` and writes `folder/trace-<first>-<last>.json.gz`; `told` hears of the file. The
    folder is made for it."""

    def __init__(self, steps: tuple[int, int] | None, folder: Path, told: Callable[[Path], None]) -> None:
        self._steps = steps
        self._folder = folder
        self._told = told
        self._profiler: torch.profiler.profile | None = None

    def before(self, step: int) -> None:
        """Start where `step`, which comes next, is to be traced."""
        if self._profiler is None and self._steps and self._steps[0] <= step <= self._steps[1]:
            self._profiler = torch.profiler.profile()
            self._profiler.start()

    def after(self, step: int) -> None:
        """Write the file where `step`, which is done, was the last."""
        if self._steps and step >= self._steps[1]:
            self.close()

    def close(self) -> None:
        """End a trace that is under way, whatever it holds."""
        if self._steps is None or self._profiler is None:
            return
        first, last = self._steps
        file = self._folder / f"trace-{first}-{last}.json.gz"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._profiler.stop()
        self._profiler.export_chrome_trace(str(file))
        self._profiler = self._steps = None
        self._told(file)
