"""Limits of a run in hours and money: a run that reaches one ends at its next commit.

The process that runs the graph counts, and asks a stage that works to stop by a file in its state. The stage checks it
when it commits: after a shard, an item, a step of training. So nothing that was paid for is lost.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from arctic_errors import ArcticError
from infra.context import Event, StageContext
from infra.stage import Stage


class StoppedError(ArcticError, RuntimeError):
    """A stage stopped at a commit because it was asked to; the next run goes on from there."""


def stop_if_asked(context: StageContext, num_left: int) -> None:
    """Raise StoppedError between two commits of a stage, if it is asked to stop and `num_left` more are to come."""
    if num_left and (reason := context.stop_reason()):
        raise StoppedError(reason)


@dataclass(frozen=True)
class Budget:
    """Limits of one run; None if there is none. `price_per_worker_hour`: of a worker of a stage."""

    max_hours: float | None = None
    max_cost: float | None = None
    price_per_worker_hour: float = 0.0

    def exceeded(self, hours: float, worker_hours: float) -> str:
        """The limit that is reached after these hours of the run and of its workers, in words; "" if none is."""
        if self.max_hours is not None and hours >= self.max_hours:
            return f"--max-hours {self.max_hours:g} is reached"
        cost = worker_hours * self.price_per_worker_hour
        if self.max_cost is not None and cost >= self.max_cost:
            spent = f"{worker_hours:.2f} worker-hours at {self.price_per_worker_hour:g}"
            return f"--max-cost {self.max_cost:g} is reached ({spent})"
        return ""


UNLIMITED = Budget()


def num_workers(stage: Stage) -> int:
    """Workers that a stage pays for at most while it runs: its group, or its own task if that holds a CPU or GPU."""
    resources = stage.resources
    if resources.group:
        return max(resources.group.count, resources.most_workers)
    return int(resources.num_cpus + resources.num_gpus > 0)


@dataclass
class Meter:
    """Counts the hours of a run and of the workers of its stages."""

    budget: Budget
    stages: dict[str, Stage]
    clock: Callable[[], float] = time.monotonic
    _since: dict[str, float] = field(default_factory=dict)
    _worker_s: float = 0.0

    def __post_init__(self) -> None:
        self._started = self.clock()

    @property
    def running(self) -> list[Stage]:
        """Stages that work now."""
        return [self.stages[name] for name in self._since]

    def see(self, event: Event) -> None:
        """Note which stages begin and end."""
        stage, now = event.get("stage", ""), self.clock()
        if event["event"] == "stage_started":
            self._end(stage, now)
            self._since[stage] = now
        elif event["event"] in ("stage_finished", "stage_failed", "stage_skipped"):
            self._end(stage, now)

    def exceeded(self) -> str:
        """The limit that is reached now, in words; "" if none is."""
        now = self.clock()
        running = sum((now - since) * num_workers(self.stages[name]) for name, since in self._since.items())
        return self.budget.exceeded((now - self._started) / 3600, (self._worker_s + running) / 3600)

    def _end(self, stage: str, now: float) -> None:
        if stage in self._since:
            self._worker_s += (now - self._since.pop(stage)) * num_workers(self.stages[stage])
