"""A group of processes that work in step: the environment of each, and the interface of the whole."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from arctic_errors import ArcticError

Task = TypeVar("Task")
Result = TypeVar("Result")

POLL_S = 0.5
"""Between two looks whether anybody still waits for the result."""
LAST_WORDS_S = 5.0
"""How long after an error another process may turn out to have died, which explains it."""


@dataclass(frozen=True)
class Member:
    """One process of a group: its number `rank` of `size`; `rendezvous`, a file that does not exist yet and that all of
    them see; and whether all are on `one_machine`."""

    rank: int = 0
    size: int = 1
    rendezvous: Path = Path()
    one_machine: bool = True


ALONE = Member()
"""A process that works alone."""
Make = Callable[[Member], Callable[[Task], Result]]
"""Makes the worker of a process. All processes of a group call in step."""


class MemberLostError(ArcticError, RuntimeError):
    """A process of a group died; the group is started again."""


class StoppedWaitingError(ArcticError):
    """Nobody waits for the group's result."""


class Group(Protocol):
    """The processes of one group, as `infra.groups.local` and `infra.groups.on_ray` start them."""

    def run(self, task: Any, is_stopped: threading.Event) -> Any:
        """The first member's answer to a task that all of them get.

        Raises MemberLostError if a process died, StoppedWaitingError if `is_stopped` is set meanwhile, and the error of
        a worker."""

    def close(self) -> None:
        """End the processes."""
