"""Who is still there: every worker leaves a sign of life in a folder that all of them reach.

The error of a failed collective does not name the missing worker. These heartbeats identify it.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arctic_errors import ArcticError

BEAT_S = 0.5
BEATS_TO_WAIT = 4
"""A worker that misses this many is silent."""


class WorkerLostError(ArcticError, RuntimeError):
    """A worker does not answer; the message names it. Another attempt may do better."""


class Heartbeat:
    """The signs of worker `rank` of `world`. Use as a context: a thread beats while it is open.

    A sign counts beats, which go on while the process runs, and turns, which go on with its work; all workers take the
    same turns. No clock is compared with another machine's. `on_beat` is called with every sign.
    """

    def __init__(self, folder: Path, rank: int, world: int, on_beat: Callable[[], None] | None = None) -> None:
        self._on_beat = on_beat
        self._folder = folder
        self._rank = rank
        self._world = world
        self._sign: dict[str, Any] = {"host": socket.gethostname(), "process": os.getpid(), "beats": 0, "turns": 0}
        self._doing = "starting"
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._ended = True
        self._write()

    def turn(self, doing: str) -> None:
        """This worker goes on to `doing`."""
        self._doing = doing
        self._sign["turns"] += 1

    def missing(self) -> str:
        """Which workers the others wait for, in words; takes BEATS_TO_WAIT beats."""
        before = self._signs()
        time.sleep(BEAT_S * BEATS_TO_WAIT)
        after = self._signs()
        absent = [f"rank {rank} never began" for rank in range(self._world) if rank not in after]
        running = {rank: sign for rank, sign in after.items() if not sign["ended"]}
        silent = [rank for rank in running if rank in before and running[rank]["beats"] == before[rank]["beats"]]
        if absent or silent:
            return "; ".join(absent + [f"{_named(rank, after[rank])} is silent" for rank in silent])
        furthest = max(sign["turns"] for sign in running.values())
        behind = [f"{_named(rank, sign)} is behind" for rank, sign in running.items() if sign["turns"] < furthest]
        ended = [f"{_named(rank, sign)} ended" for rank, sign in after.items() if sign["ended"]]
        return "; ".join(behind or ended) or "every rank is there and none is behind: look at the network"

    def _signs(self) -> Mapping[int, dict[str, Any]]:
        files = {rank: self._file(rank) for rank in range(self._world)}
        return {rank: json.loads(file.read_text("utf-8")) for rank, file in files.items() if file.exists()}

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            self._sign["beats"] += 1
            self._write()

    def _write(self) -> None:
        """Whole or not at all: others read at any time."""
        partial = self._folder / f".{self._rank}.json"
        partial.write_text(json.dumps(self._sign | {"doing": self._doing, "ended": self._ended}), encoding="utf-8")
        partial.replace(self._file(self._rank))
        if self._on_beat is not None:
            self._on_beat()

    def _file(self, rank: int) -> Path:
        return self._folder / f"{rank}.json"


def _named(rank: int, sign: Mapping[str, Any]) -> str:
    return f"rank {rank} (process {sign['process']} on {sign['host']}, {sign['doing']})"
