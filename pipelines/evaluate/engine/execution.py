"""How the requests of an evaluation are run."""

from dataclasses import dataclass

from infra.resources import Demand, Resources


@dataclass(frozen=True)
class Execution:
    """How requests are run. On a CPU no answer depends on it, except as `batched` states.

    Attributes:
        num_actors: Copies of the model that answer side by side.
        cpus_per_actor: CPUs that each copy reserves.
        gpus_per_actor: GPUs that each copy reserves; with one, the model runs in bfloat16.
        tokens_per_batch: Tokens that an actor gets at a time, which is also the most work that a kill loses.
        batched: Whether several questions share a pass (see LikelihoodScorer and TextGenerator). None: on a GPU only.
    """

    num_actors: int = 1
    cpus_per_actor: float = 1.0
    gpus_per_actor: float = 0.0
    tokens_per_batch: int = 8192
    batched: bool | None = None

    def __post_init__(self) -> None:
        if self.num_actors < 1 or self.tokens_per_batch < 1:
            raise ValueError(f"{self}: num_actors and tokens_per_batch must be 1 or more.")

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_actor else "cpu"

    @property
    def dtype(self) -> str:
        return "bfloat16" if self.gpus_per_actor else "float32"

    @property
    def resources(self) -> Resources:
        """A single actor works in the stage's own task; several bring their own GPUs, and one is enough to start."""
        if self.num_actors == 1:
            return Resources(self.cpus_per_actor, self.gpus_per_actor)
        return Resources(self.cpus_per_actor, group=Demand(1, self.cpus_per_actor, self.gpus_per_actor))


ONE_ACTOR = Execution()
