"""The workers over which a gradient is summed, and how they split it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from arctic_model.layers.attention.context_parallel import ContextGroup
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.sizing.parallel import require_context_groups, require_expert_groups, require_shard_groups


@dataclass(frozen=True)
class WorkerGroup:
    """Some workers. `rank` of this one among them, their number, and their process group, None of a single worker."""

    rank: int = 0
    size: int = 1
    process_group: Any = None


@dataclass(frozen=True)
class Split:
    """The workers that hold one copy of a parameter: `shards` own a part each, `replicas` own the same part."""

    shards: WorkerGroup
    replicas: WorkerGroup


class WorkerGroups:
    """All groups of one engine. Every worker of the default process group makes them in step.

    Args:
        expert_parallel_size: workers that hold one copy of all experts.
        shard_group_size: workers that split the dense part; 0: all of them.
        shards: whether anything is split; otherwise every worker owns everything.

    Raises:
        ConfigError: if the workers do not form whole groups.
    """

    def __init__(self, expert_parallel_size: int, shard_group_size: int, *, shards: bool) -> None:
        world = dist.get_world_size()
        require_expert_groups(expert_parallel_size, world)
        require_shard_groups(shard_group_size, world)
        self._process_groups: list[Any] = []
        neighbours = _new_group(_neighbours(expert_parallel_size), self._process_groups)
        self.experts = ExpertGroup(neighbours.size, neighbours.rank, neighbours.process_group)
        holders = _new_group(_strided(expert_parallel_size), self._process_groups)
        self.of_experts = Split(holders, WorkerGroup()) if shards else Split(WorkerGroup(), holders)
        split = (shard_group_size or world) if shards else 1
        parts = _new_group(_neighbours(split), self._process_groups)
        self.of_dense = Split(parts, _new_group(_strided(split), self._process_groups))

    def close(self) -> None:
        """Destroy the process groups."""
        for group in self._process_groups:
            dist.destroy_process_group(group)
        self._process_groups.clear()


def new_context_group(size: int) -> ContextGroup:
    """The group of this worker if `size` neighbours share each sequence. All workers call in step; destroy its process
    group after use. Raises ConfigError if the workers do not form whole groups."""
    require_context_groups(size, dist.get_world_size())
    own = _new_group(_neighbours(size), [])
    return ContextGroup(own.size, own.rank, own.process_group)


def _neighbours(size: int) -> list[range]:
    """Groups of `size` workers in a row: on one machine, if it has so many."""
    return [range(first, first + size) for first in range(0, dist.get_world_size(), size)]


def _strided(size: int) -> list[range]:
    """The workers with the same rank in the groups of `_neighbours`."""
    return [range(first, dist.get_world_size(), size) for first in range(size)]


def _new_group(groups: Iterable[Sequence[int]], process_groups: list[Any]) -> WorkerGroup:
    """That of `groups` which holds this worker. Every worker makes all of them, as torch demands."""
    own = WorkerGroup()
    for ranks in groups:
        group = dist.new_group(list(ranks)) if len(ranks) > 1 else None
        if dist.get_rank() in ranks:
            own = WorkerGroup(list(ranks).index(dist.get_rank()), len(ranks), group)
            process_groups += [group] if group is not None else []
    return own
