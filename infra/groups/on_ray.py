"""A group of actors on Ray, see `infra.groups.group`."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.context import StageContext
from infra.groups.group import LAST_WORDS_S, POLL_S, Make, Member, MemberLostError, StoppedWaitingError
from infra.resources import Demand
from infra.resources.capacity import Capacity, Wait
from infra.resources.room import await_group, reserve


class RayGroup:
    """Waits for room for `demand` as a whole, reports that meanwhile, and starts its actors there. Ranks on one machine
    are neighbours, in the order of its GPUs.

    Raises CapacityError if the wait is in vain, StoppedWaitingError if `is_stopped` is set meanwhile.
    """

    def __init__(
        self, make: Make[Any, Any], rendezvous: Path, demand: Demand, context: StageContext, is_stopped: threading.Event
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        capacity = context.capacity or Capacity.look()
        capacity.require(f"a group of {context.stage_id}", demand)
        self._room = reserve(context.stage_id, demand)
        self._actors: list[Any] = []
        try:
            wait = Wait(context.stage_id, demand, capacity, context.emit)
            if not await_group(self._room, wait, is_stopped):
                raise StoppedWaitingError
            for number in range(demand.count):
                actor = ray.remote(GroupMember).options(
                    num_cpus=demand.num_cpus,
                    num_gpus=demand.num_gpus,
                    max_restarts=0,
                    scheduling_strategy=PlacementGroupSchedulingStrategy(self._room, number),
                )
                self._actors.append(actor.remote())
            places = self._all([actor.place.remote() for actor in self._actors], is_stopped)
            order = sorted(range(demand.count), key=places.__getitem__)
            self._actors = [self._actors[number] for number in order]
            one_machine = len({machine for machine, _ in places}) == 1
            member = Member(0, demand.count, rendezvous, one_machine)
            starting = [actor.start.remote(make, replace(member, rank=rank)) for rank, actor in enumerate(self._actors)]
            self._all(starting, is_stopped)
        except BaseException:
            self.close()
            raise

    def run(self, task: Any, is_stopped: threading.Event) -> Any:
        """See `infra.groups.group.Group`."""
        return self._all([actor.run.remote(task) for actor in self._actors], is_stopped)[0]

    def _all(self, references: list[Any], is_stopped: threading.Event) -> list[Any]:
        """The answers of all actors. An error of one is the loss of another if that one is dead."""
        import ray
        from ray.exceptions import RayActorError

        pending = references
        while pending:
            if is_stopped.is_set():
                raise StoppedWaitingError
            done, pending = ray.wait(pending, timeout=POLL_S)
            try:
                ray.get(done)
            except RayActorError as error:
                raise MemberLostError(f"a process of the group died: {error}") from error
            except Exception as error:
                self._require_alive(pending, error)
                raise
        return [ray.get(reference) for reference in references]

    @staticmethod
    def _require_alive(pending: list[Any], cause: Exception) -> None:
        """Raise MemberLostError if one of the actors that have not answered is dead."""
        import ray
        from ray.exceptions import RayActorError

        for reference in ray.wait(pending, num_returns=len(pending), timeout=LAST_WORDS_S)[0] if pending else ():
            try:
                ray.get(reference)
            except RayActorError:
                raise MemberLostError("a process of the group died") from cause
            except Exception:
                # Another one that lost the same peer.
                continue

    def close(self) -> None:
        """See `infra.groups.group.Group`."""
        import ray
        from ray.util import remove_placement_group

        for actor in self._actors:
            ray.kill(actor)
        remove_placement_group(self._room)


class GroupMember:
    """Makes its worker in a call and not in the constructor, so that a fault keeps its own words."""

    def place(self) -> tuple[str, list[Any]]:
        """The machine, and the numbers of the GPUs there."""
        import ray

        return ray.get_runtime_context().get_node_id(), ray.get_gpu_ids()

    def start(self, make: Make[Any, Any], member: Member) -> None:
        self._member, self._worker = member, make(member)

    def run(self, task: Any) -> Any:
        result = self._worker(task)
        return result if self._member.rank == 0 else None
