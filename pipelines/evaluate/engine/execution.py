"""How the requests of an evaluation are run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from infra.context import StageContext
from infra.groups.actors import map_on_actors
from infra.groups.group import ALONE, Make
from infra.groups.mapping import map_on_groups
from infra.resources import Demand, Resources

ANSWERS_AT_ONCE = 64
"""Answers that a copy writes side by side if it batches: at 64 a pass of a small model is no longer mostly overhead."""
CACHED_IDS = ANSWERS_AT_ONCE * 4096
"""Ids whose keys and values a copy holds that writes answers side by side: of 32,768 ids each it writes 8."""
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Execution:
    """How requests are run. On a CPU no answer depends on it, except as `batched` states.

    Attributes:
        num_actors: Copies of the model that answer side by side.
        cpus_per_actor: CPUs that each process of a copy reserves. A copy in one process without a GPU answers as many
            batches side by side, each on one thread: sums that threads share would round otherwise.
        gpus_per_actor: GPUs that each process of a copy reserves; with one, the model runs in bfloat16.
        tokens_per_batch: Tokens that an actor gets at a time, which is also the most work that a kill loses.
        batched: Whether several questions share a pass (see LikelihoodScorer and TextGenerator). None: on a GPU only.
        expert_parallel_size: Processes that share the experts of one copy; each repeats the dense part.
        cpu_dtype: Of the weights of a copy without a GPU, see `pipelines.models.source.ModelSource`.
    """

    num_actors: int = 1
    cpus_per_actor: float = 1.0
    gpus_per_actor: float = 0.0
    tokens_per_batch: int = 8192
    batched: bool | None = None
    expert_parallel_size: int = 1
    cpu_dtype: Literal["float32", "stored"] = "float32"

    def __post_init__(self) -> None:
        if min(self.num_actors, self.tokens_per_batch, self.expert_parallel_size) < 1:
            raise ValueError(f"{self}: num_actors, tokens_per_batch and expert_parallel_size must be 1 or more.")

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_actor else "cpu"

    @property
    def dtype(self) -> str:
        return "bfloat16" if self.gpus_per_actor else self.cpu_dtype

    @property
    def resources(self) -> Resources:
        """A copy in one process works in the stage's own task; others bring their own GPUs, and one is enough to
        start."""
        if self.is_inline:
            return Resources(self.cpus_per_actor, self.gpus_per_actor)
        return Resources(self.cpus_per_actor, group=self._copy)

    @property
    def is_inline(self) -> bool:
        """Whether the only copy is in the stage's own process."""
        return self.num_actors == self.expert_parallel_size == 1

    def map(
        self, make: Make[Task, Result], tasks: Sequence[Task], context: StageContext
    ) -> Iterator[tuple[int, Result]]:
        """Yield (index, worker(task)) for every task as it is finished, on workers that each hold a copy of the model
        or, as members of a group, a part of one. See `infra.groups.actors` and `infra.groups`."""
        if self.expert_parallel_size > 1:
            return map_on_groups(make, tasks, context, num_groups=self.num_actors, demand=self._copy)
        return map_on_actors(
            partial(make, ALONE),
            tasks,
            context,
            num_actors=self.num_actors,
            num_cpus=self.cpus_per_actor,
            num_gpus=self.gpus_per_actor,
        )

    @property
    def _copy(self) -> Demand:
        return Demand(self.expert_parallel_size, self.cpus_per_actor, self.gpus_per_actor)


def answers_at_once(capacity: int) -> int:
    """Answers that a copy writes side by side if each may have `capacity` ids with its prompt."""
    return max(1, min(ANSWERS_AT_ONCE, CACHED_IDS // capacity))


ONE_ACTOR = Execution()
