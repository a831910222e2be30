"""The process beside a run that sends its events to MLflow, started by `infra.tracking.tracker`.

It works until its standard input ends, which also happens when the run is killed. It prints messages to the
user of the run.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.host.masking import masked
from infra.tracking.cursor import Cursor, catch_up
from infra.tracking.database import tracking_uri
from infra.tracking.shapes import shorten

PERIOD_S = 2.0


class Follower:
    """Sends a run's events, then the remaining events of earlier runs.

    If MLflow is out of reach, it says so once by `report`; unsent events are sent later, by this process or a next one.
    """

    def __init__(self, store_root: Path, run_id: str, report: Callable[[str], None]) -> None:
        self._root = store_root
        self._cursor = Cursor(store_root, store_root / "runs" / run_id)
        self._report = report
        self._has_reported = False
        self._is_caught_up = False

    def follow(self, ended: threading.Event) -> None:
        """Send, every 2 s, until `ended` is set, and then the rest."""
        monitor = None
        while not ended.is_set():
            if self.sync() and monitor is None:
                monitor = system_monitor(tracking_uri(self._root), self._cursor.parent)
            ended.wait(PERIOD_S)
        if monitor:
            monitor.finish()
        self.sync()

    def sync(self) -> bool:
        """Send everything that is in the logs now; False if that failed."""
        try:
            self._cursor.advance()
            if not self._is_caught_up:
                catch_up(self._root)
                self._is_caught_up = True
        except Exception as error:
            self._report_once(str(error))
            return False
        return True

    def _report_once(self, reason: str) -> None:
        if not self._has_reported:
            self._has_reported = True
            first, *_ = reason.strip().splitlines() or ["no reason given"]
            self._report(
                f"MLflow at {masked(tracking_uri(self._root))}: {shorten(masked(first), 200)}. The run goes on; "
                "its event log fills MLflow in with the next `arctic run` or `arctic ui`."
            )


def system_monitor(uri: str, run_id: str | None) -> Any:
    """MLflow's monitor of this machine's processors, memory, disk, network and NVIDIA GPUs, started on a run, unless
    MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is "false". None without a run."""
    if run_id is None or os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").lower() in ("false", "0"):
        return None
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    make: Any = SystemMetricsMonitor
    monitor = make(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor


def main() -> None:
    """Follow the run whose store and id are the arguments of the command line."""
    # Ctrl-C is for the run, whose end this process follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Of its own, as MLflow may print.
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    store_root, run_id = sys.argv[1:]
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        ended.set()

    def tell(message: str) -> None:
        # Nobody reads behind a run that was killed.
        with suppress(BrokenPipeError):
            print(message, file=report)

    threading.Thread(target=wait_for_end, daemon=True).start()
    Follower(Path(store_root), run_id, tell).follow(ended)
    # The run waits for the end of this process: Python would look through all of MLflow's objects for most of a second.
    gc.freeze()
