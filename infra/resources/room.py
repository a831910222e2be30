"""Room on a cluster for everything that has to run at the same time."""

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
    from ray.util import placement_group, remove_placement_group

    capacity.require(who, demand, remedy)
    group = placement_group([demand.bundle] * demand.count)
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
