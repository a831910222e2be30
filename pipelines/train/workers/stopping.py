"""Stop training at a step: because the run has reached a limit, because this worker's machine is about to leave, or to
make room for a larger group of workers.

A machine that leaves gives a warning: the cluster drains its node, or its processes receive SIGTERM. Then all workers
write a checkpoint of the step that they have just taken, and go on elsewhere.
"""

import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from infra.context import StageContext

LOOK_S = 1.0
"""Between two looks for a request of the run, and at the nodes that are drained."""


class StopRequest:
    """Whether this worker is asked to stop; use it as a context, in which SIGTERM is such a request.

    Worker 0 polls for the run's request and for the file `regroup`, each worker for the end of its own machine.
    """

    def __init__(self, context: StageContext, rank: int, regroup: Path) -> None:
        self._context, self._rank, self._regroup = context, rank, regroup
        self._looked = -math.inf
        self._before: Any = None
        self.is_leaving = False
        self._is_stopped = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._is_stopped = self._is_stopped or (self._rank == 0 and self._is_asked())
            self.is_leaving = self.is_leaving or is_drained()
        return self._is_stopped or self.is_leaving

    def _is_asked(self) -> bool:
        return bool(self._context.stop_reason()) or self._regroup.exists()

    def __enter__(self) -> "StopRequest":
        # Only the main thread may take signals.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._terminated)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _terminated(self, _number: int, _frame: FrameType | None) -> None:
        """A second signal has its usual effect."""
        self.is_leaving = True
        signal.signal(signal.SIGTERM, self._before)


def is_drained() -> bool:
    """Whether the cluster is about to take away the node of this process."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    node = ray.get_runtime_context().get_node_id()
    return node in ray._private.state.state.get_draining_nodes()


def leave() -> None:
    """End this process as its machine would: Ray starts the stage again, on another node."""
    os.kill(os.getpid(), signal.SIGKILL)
