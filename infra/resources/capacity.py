"""The capacity of a cluster, and waiting for it.

A cluster may have no machine now and four in a minute, so a demand is not refused for the current size. Demand is
posted to Ray (a task, an actor, a placement group), an autoscaler answers it, and the waiting stage reports it. Only a
demand above the largest size of the cluster is refused, if that size is known: a cluster of this process, or one whose
autoscaler's pools can be read. Elsewhere a demand that no machine can hold is given up after a patience.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arctic_errors import UserError
from infra.resources.demand import Demand

PATIENCE_VARIABLE = "ARCTIC_PATIENCE_MINUTES"
PATIENCE_MINUTES = 30.0
"""Clouds start a GPU machine and pull its image in 5 to 20 minutes."""
GRACE_S = 5.0
"""A demand that is met within this time is not worth a line."""
REPORT_S = 5.0
LOOK_S = 1.0
"""Between two looks at the cluster's machines, which cost the head a call each."""
REMEDY = "Lower the resources of its section"
MIN_SHARDS_AHEAD = 64
"""Minimum number of shards offered to a cluster that may grow: an autoscaler sees only posted demand."""


class CapacityError(UserError, RuntimeError):
    """A demand that the cluster cannot meet: the message contains the demand, the cluster's size, and the remedy."""


@dataclass(frozen=True)
class Pool:
    """Machines of one kind: the CPUs and GPUs of each, and how many of them there can be at most."""

    num_cpus: float
    num_gpus: float
    max_nodes: int


@dataclass(frozen=True)
class Limits:
    """The largest size of a cluster. `max_nodes`: of all pools together, None if only each has its own limit."""

    pools: tuple[Pool, ...]
    max_nodes: int | None = None

    def holds(self, demand: Demand) -> bool:
        """Whether all of `demand` fits at once, each part of it on one machine."""
        if not demand.num_cpus and not demand.num_gpus:
            # Such a task runs on the head as well.
            return True
        room, nodes_left, missing = self._by_room(demand), self.max_nodes, demand.count
        for parts, max_nodes in room:
            nodes = max_nodes if nodes_left is None else min(max_nodes, nodes_left)
            missing -= parts * nodes
            nodes_left = None if nodes_left is None else nodes_left - nodes
        return missing <= 0

    @property
    def num_cpus(self) -> float:
        """CPUs of the pools, were each at its limit."""
        return sum(pool.num_cpus * pool.max_nodes for pool in self.pools)

    @property
    def num_gpus(self) -> float:
        """GPUs of the pools, were each at its limit."""
        return sum(pool.num_gpus * pool.max_nodes for pool in self.pools)

    def _by_room(self, demand: Demand) -> list[tuple[int, int]]:
        """(parts of `demand` a machine holds, machines) of each pool, the roomiest first."""
        return sorted(((parts_of(demand, pool), pool.max_nodes) for pool in self.pools), reverse=True)


@dataclass(frozen=True)
class Capacity:
    """The known size of a cluster. Plain data: the driver looks once, and every stage is handed the answer."""

    limits: Limits | None
    patience_s: float

    @staticmethod
    def look() -> "Capacity":
        """Of the cluster that this process is connected to. Raises CapacityError if the time limit for waiting is not a
        number."""
        return Capacity(_limits(), patience_s())

    def require(self, who: str, demand: Demand, remedy: str = REMEDY) -> None:
        """Raise CapacityError if the cluster can never hold `demand`, as far as its size is known. `remedy`: how to
        need less."""
        if self.limits is None or self.limits.holds(demand) or Limits(machines_up()).holds(demand):
            return
        raise CapacityError(
            f"{who} needs {demand}, the cluster can have {_size(self.limits)}. {remedy}, or raise the pools' limits."
        )

    def shards_ahead(self, machines: Sequence[Pool]) -> int:
        """Number of one-CPU tasks to post at a time while `machines` are up: enough to fill the cluster and to make it
        grow, and no more, so that the head's memory stays flat."""
        up = sum(machine.num_cpus * machine.max_nodes for machine in machines)
        if self.limits is None:
            return int(2 * max(MIN_SHARDS_AHEAD, up))
        return max(2, int(2 * max(up, min(self.limits.num_cpus, max(MIN_SHARDS_AHEAD, 2 * up)))))


class Wait:
    """One demand that is posted to Ray and not met yet. `check` it as often as you like while it is not."""

    def __init__(
        self,
        stage_id: str,
        demand: Demand,
        capacity: Capacity,
        emit: Callable[[dict[str, Any]], None],
        remedy: str = REMEDY,
    ) -> None:
        self._stage_id, self._demand, self._capacity, self._emit = stage_id, demand, capacity, emit
        self._remedy = remedy
        self._looked = -math.inf
        self._machines: tuple[Pool, ...] = ()
        self.restart()

    def restart(self) -> None:
        """Count from now on: the demand was met, or is a new one."""
        self._started = self._reported = self._held = time.monotonic()

    def check(self) -> None:
        """Report how long the demand waits. Raises CapacityError if the cluster's largest size is not known and no
        machines that could hold the demand were up for all of the patience; time behind other work does not count."""
        now = time.monotonic()
        if self.fits():
            self._held = now
        if now - self._started >= GRACE_S and now - self._reported >= REPORT_S:
            self._reported = now
            seconds = round(now - self._started, 1)
            self._emit({"event": "waiting", "stage": self._stage_id, "needs": str(self._demand), "seconds": seconds})
        if self._capacity.limits is None and now - self._held > self._capacity.patience_s:
            raise CapacityError(
                f"{self._stage_id} needs {self._demand}, and no machines that could hold it came up within "
                f"{self._capacity.patience_s / 60:g} min: the cluster has {_size(Limits(machines_up()))}. "
                f"{self._remedy}, add machines, or wait longer with {PATIENCE_VARIABLE}."
            )

    def fits(self) -> bool:
        """Whether the machines that are up could hold the demand, were they free."""
        return Limits(self.machines()).holds(self._demand)

    def machines(self) -> tuple[Pool, ...]:
        """The machines that are part of the cluster, as they were a second ago at most."""
        if time.monotonic() - self._looked >= LOOK_S:
            self._looked, self._machines = time.monotonic(), machines_up()
        return self._machines


def patience_s() -> float:
    """How long a demand waits on a cluster whose largest size is not known. Raises CapacityError."""
    text = os.environ.get(PATIENCE_VARIABLE, "") or str(PATIENCE_MINUTES)
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not minutes >= 0:
        raise CapacityError(f"{PATIENCE_VARIABLE} = {text!r}: give minutes, such as 30, or inf to wait for ever.")
    return minutes * 60


def machines_up() -> tuple[Pool, ...]:
    """The machines that are part of the cluster now."""
    import ray

    node_resources = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return tuple(Pool(resources.get("CPU", 0.0), resources.get("GPU", 0.0), 1) for resources in node_resources)


def pools_of(config: Mapping[str, Any]) -> Limits | None:
    """The limits that the configuration of Ray's autoscaler (a `ray_cluster.yaml` after `ray up`) declares; None if
    a pool does not state its CPUs."""
    types = config.get("available_node_types", {})
    head, most = config.get("head_node_type"), int(config["max_workers"])
    if types.keys() <= {head} or not all("CPU" in declared.get("resources", {}) for declared in types.values()):
        return None
    pools = {
        name: Pool(
            float(declared["resources"]["CPU"]),
            float(declared["resources"].get("GPU", 0)),
            1 if name == head else int(declared.get("max_workers", most)),
        )
        for name, declared in types.items()
    }
    # A head that takes work counts as a machine, one that takes none is no room for anything.
    works = head in pools and bool(pools[head].num_cpus or pools[head].num_gpus)
    return Limits(tuple(pool for name, pool in pools.items() if works or name != head), most + works)


def parts_of(demand: Demand, machine: Pool) -> int:
    """How many parts of `demand`, which is not empty, one such machine holds."""
    amounts = ((demand.num_cpus, machine.num_cpus), (demand.num_gpus, machine.num_gpus))
    # Ray counts in ten-thousandths.
    return min(math.floor(has / needs + 1e-6) for needs, has in amounts if needs)


def _size(limits: Limits) -> str:
    machines = [
        f"{pool.max_nodes} x {Demand(1, pool.num_cpus, pool.num_gpus)}"
        for pool in sorted(set(limits.pools), key=lambda pool: (pool.num_cpus, pool.num_gpus))
        if pool.num_cpus or pool.num_gpus
    ]
    cap = f", at most {limits.max_nodes} machines in all" if limits.max_nodes is not None else ""
    return f"{limits.num_cpus:g} CPUs and {limits.num_gpus:g} GPUs ({', '.join(machines) or 'no machine'}{cap})"


def _limits() -> Limits | None:
    """The largest size of the cluster, if it is known."""
    import ray
    from ray.util.client import ray as client

    # A driver elsewhere (ray://) sees the head through a proxy, which shows no limits.
    if client.is_connected():
        return None
    node = ray._private.worker._global_node
    # A cluster that this process started ends with it and listens on loopback: no machine can join.
    if node is not None and node.is_head():
        return Limits(machines_up())
    return _reported_limits() or _limits_of_autoscaler(ray.get_runtime_context().gcs_address, Path("/proc"))


def _reported_limits() -> Limits | None:
    """A provider's report to the head about its pools, as hosted services send it."""
    from ray._private.state import state

    config = state.get_cluster_config()
    groups = list(config.node_group_configs) if config else []
    if not groups or any(group.max_count < 0 for group in groups):
        return None
    pools = (Pool(group.resources.get("CPU", 0), group.resources.get("GPU", 0), group.max_count) for group in groups)
    return Limits(tuple(pools))


def _limits_of_autoscaler(gcs_address: str, proc: Path) -> Limits | None:
    """The pools of the autoscaler of the cluster at `gcs_address`, which runs on the machine of its head and of a job's
    driver; None from elsewhere, or if it has no pools."""
    import yaml

    for arguments in _command_lines(proc):
        options = dict(
            argument.split("=", 1) for argument in arguments if argument.startswith("--") and "=" in argument
        )
        file = Path(options.get("--autoscaling-config", "")).expanduser()
        if options.get("--gcs-address") == gcs_address and file.is_file():
            return pools_of(yaml.safe_load(file.read_text(encoding="utf-8")))
    return None


def _command_lines(proc: Path) -> Iterator[Sequence[str]]:
    for process in proc.glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_text(errors="replace").split("\0")
        # Processes of others cannot be read, and any may end while it is looked at.
        except OSError:
            continue
