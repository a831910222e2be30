"""Room on a cluster for everything that has to run at the same time."""

import secrets
import threading
from collections.abc import Callable
from typing import Any

from infra.resources.capacity import REMEDY, Capacity, Wait
from infra.resources.demand import Demand

POLL_S = 0.2


def await_room(
    who: str,
    demand: Demand,
    capacity: Capacity,
    emit: Callable[[dict[str, Any]], None],
    *,
    remedy: str = REMEDY,
    stop: threading.Event | None = None,
) -> None:
    """Return once the cluster has room for all of `demand`, or at `stop`, and report the wait meanwhile.

    Requests the same resources from Ray, so that an autoscaler starts the missing machines, and releases the room at
    the end: whoever works in it takes it again. Raises CapacityError if the wait is in vain.
    """
    from ray.util import remove_placement_group

    capacity.require(who, demand, remedy)
    group = reserve(who, demand)
    try:
        await_group(group, Wait(who, demand, capacity, emit, remedy), stop)
    finally:
        remove_placement_group(group)


def await_group(group: Any, wait: Wait, stop: threading.Event | None = None) -> bool:
    """Whether Ray has placed a placement group before `stop`. Raises CapacityError if the wait is in vain."""
    while not group.wait(POLL_S):
        if stop and stop.is_set():
            return False
        wait.check()
    return True


def reserve(owner: str, demand: Demand) -> Any:
    """A placement group of Ray for all of `demand`, placed as soon as there is room. It stays until it is removed, or
    until `free_leftovers(owner)`."""
    from ray.util import placement_group

    return placement_group([demand.bundle] * demand.count, name=_names(owner) + secrets.token_hex(8))


def free_leftovers(owner: str) -> None:
    """Remove the placement groups that a killed process of the same job reserved for `owner`. Ray itself keeps those of
    a task until the end of the job."""
    from ray._raylet import PlacementGroupID
    from ray.util import placement_group_table, remove_placement_group
    from ray.util.placement_group import PlacementGroup

    names = _names(owner)
    for identity, group in placement_group_table().items():
        if group["name"].startswith(names) and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(identity)))


def _names(owner: str) -> str:
    """How the names of all placement groups of `owner` in this job begin."""
    import ray

    return f"{ray.get_runtime_context().get_job_id()}/{owner}/"
