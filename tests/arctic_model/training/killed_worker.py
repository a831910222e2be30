"""A worker of a training run that kills itself (SIGKILL) in the middle of a checkpoint:
`killed_worker.py RANK WORLD RENDEZVOUS JOBS`, as `train_worker.py`, whose first job has `dies_in` (rank, call, number):
before that call of `write_slices`, `rename` (the commit) or `append` (the history), counted over the run from 0."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import train_worker

from arctic_model.checkpoint import writing as checkpoint_writer
from arctic_model.training import history

OWNERS = {"write_slices": checkpoint_writer, "rename": os, "append": history}


def main() -> None:
    rank, call, number = json.loads(Path(sys.argv[4]).read_text(encoding="utf-8"))[0]["dies_in"]
    if rank == int(sys.argv[1]):
        owner = OWNERS[call]
        setattr(owner, call, dying(getattr(owner, call), number))
    train_worker.main()


def dying(function: Callable, last: int) -> Callable:
    calls = []

    def counting(*arguments: object, **options: object) -> object:
        if len(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(function)
        return function(*arguments, **options)

    return counting


if __name__ == "__main__":
    main()
