"""The settings of the training: the model, the recipe's numbers, and the machine time, from the manifests of
`train`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.artifact import Manifest

FLOPS_PER_PARAMETER = 6
"""Forward and backward, for each token and active parameter (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""


@dataclass(frozen=True)
class Settings:
    """`model`, `train` and `schedule`: parameters of the last phase's stage; `steps` and `tokens` of all phases;
    `cost` in the currency of the recipe's price, None without one; `commits`: of the code that trained, with whether
    it held changes that are in no commit."""

    parameters: int
    active_parameters: int
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    schedule: Mapping[str, Any]
    steps: int
    tokens: int
    worker_hours: float
    cost: float | None
    commits: Mapping[str, bool]

    @property
    def flops(self) -> float:
        """Floating-point operations of all training steps, estimated from the active parameters."""
        return float(FLOPS_PER_PARAMETER * self.active_parameters * self.tokens)


def read_settings(trained: Sequence[Manifest]) -> Settings:
    """From the manifests of a run's phases in order."""
    last = trained[-1]
    costs = [manifest.metrics.get("cost") for manifest in trained]
    states = [manifest.provenance.get("git") or {} for manifest in trained]
    return Settings(
        parameters=int(last.metrics.get("parameters", 0)),
        active_parameters=int(last.metrics.get("active_parameters", 0)),
        model=last.params.get("model", {}),
        train=last.params.get("train", {}),
        schedule=last.params.get("schedule", {}),
        steps=sum(int(manifest.metrics.get("steps", 0)) for manifest in trained),
        tokens=sum(int(manifest.metrics.get("tokens", 0)) for manifest in trained),
        worker_hours=sum(manifest.metrics.get("worker_hours", 0.0) for manifest in trained),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        commits={state["commit"]: bool(state.get("dirty")) for state in states if "commit" in state},
    )
