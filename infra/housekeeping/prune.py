"""Remove from a store the results, unfinished work and content that no remaining run uses."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from arctic_errors import UserError
from infra.housekeeping.roots import RunRoot, run_records
from infra.store import Store
from infra.store.garbage import Garbage, garbage
from infra.store.locks import Waiting

More = Callable[[Store, Collection[str]], Iterable[Garbage]]


def no_more_garbage(_store: Store, _needed: Collection[str]) -> Iterable[Garbage]:
    """No part of a needed result."""
    return ()


class PruneError(UserError, ValueError):
    """Runs that a prune is to forget do not exist, or go on."""


@dataclass(frozen=True)
class Pruning:
    """The garbage of a store, and the runs whose results stay."""

    garbage: tuple[Garbage, ...]
    kept_runs: tuple[RunRoot, ...]

    @property
    def bytes(self) -> int:
        """Size of all garbage."""
        return sum(each.bytes for each in self.garbage)


def find_garbage(
    store: Store,
    needed: Collection[str] = (),
    *,
    last: int | None = None,
    forget: Sequence[str] = (),
    more: More = no_more_garbage,
) -> Pruning:
    """The parts of `store` that nothing needs.

    Args:
        store: A store.
        needed: Results to keep besides those of runs, as "name/subject-key".
        last: How many runs of each name keep their results, the latest first; all if None. Runs
            that may go on always do.
        forget: Ids of runs whose results are not protected.
        more: Finds parts of needed results that can go, by the names of these results.

    Raises:
        PruneError: A run to forget does not exist or is running.
    """
    store.refresh()
    records = run_records(store)
    _require_forgettable(records, forget)
    kept = tuple(_kept(records, last, forget))
    names = set(needed).union(*(record.results for record in kept))
    return Pruning((*garbage(store, names), *more(store, names)), kept)


def prune(
    store: Store,
    needed: Collection[str] = (),
    *,
    last: int | None = None,
    forget: Sequence[str] = (),
    more: More = no_more_garbage,
    waiting: Waiting,
) -> Pruning:
    """Remove the result of `find_garbage`, while no run starts.

    A kill in between leaves a store that is as good: the next call removes the rest. Raises LeaseLostError if another
    process took the store over.
    """
    with store.pruning_blocked(waiting) as require:
        pruning = find_garbage(store, needed, last=last, forget=forget, more=more)
        for each in pruning.garbage:
            require()
            each.remove()
    return pruning


def _kept(records: Sequence[RunRoot], last: int | None, forget: Sequence[str]) -> list[RunRoot]:
    """The latest `last` runs of each name, and those that are still running."""
    kept: list[RunRoot] = []
    num_seen: dict[str, int] = {}
    for record in reversed(records):
        if record.run_id in forget:
            continue
        num_seen[record.name] = num_seen.get(record.name, 0) + 1
        if last is None or record.may_resume or num_seen[record.name] <= last:
            kept.append(record)
    return kept


def _require_forgettable(records: Sequence[RunRoot], forget: Sequence[str]) -> None:
    by_id = {record.run_id: record for record in records}
    for run_id in forget:
        if run_id not in by_id:
            raise PruneError(f"--forget {run_id}: no such run. The store has {', '.join(by_id) or 'none'}.")
        if by_id[run_id].state == "running":
            raise PruneError(f"--forget {run_id}: it goes on. Wait for its end, or stop it.")
