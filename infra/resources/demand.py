"""CPUs and GPUs that a stage needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Demand:
    """CPUs and GPUs that are needed at the same time: `count` parts, each of which fits on one machine."""

    count: int = 1
    num_cpus: float = 0.0
    num_gpus: float = 0.0

    @property
    def bundle(self) -> dict[str, float]:
        """One part, as Ray names resources in placement groups and for workers."""
        return {"CPU": self.num_cpus} | ({"GPU": self.num_gpus} if self.num_gpus else {})

    @property
    def num_threads(self) -> int:
        """Threads that work in the process of a part: one for each whole CPU, and one beside a GPU."""
        return 1 if self.num_gpus else max(1, int(self.num_cpus))

    def __str__(self) -> str:
        amounts = ((self.num_gpus, "GPU"), (self.num_cpus, "CPU"))
        part = " and ".join(f"{amount:g} {unit}{'s' * (amount != 1)}" for amount, unit in amounts if amount)
        return (part or "no CPU") if self.count == 1 else f"{self.count} x {part or 'no CPU'}"


@dataclass(frozen=True)
class Resources:
    """Resources of a stage's own task while it runs, and of the group of workers that it starts in addition, if all of
    them are needed at once; shards that it fans out take theirs one by one. A group that may grow has up to
    `most_workers`.

    Example:
        >>> from infra import Resources
        >>> [str(demand) for demand in Resources(num_gpus=1).demands]
        ['1 GPU']
    """

    num_cpus: float = 0.0
    num_gpus: float = 0.0
    group: Demand | None = None
    most_workers: int = 0

    @property
    def task(self) -> Demand:
        """The stage's own task."""
        return Demand(1, self.num_cpus, self.num_gpus)

    @property
    def demands(self) -> tuple[Demand, ...]:
        """Everything without which the stage cannot run."""
        return (self.task, self.group) if self.group else (self.task,)
