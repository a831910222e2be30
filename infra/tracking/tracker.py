"""Keep MLflow up to date with a run, from a process beside it that can never hurt or slow the run."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

FOLLOW = "import sys; sys.path.append(sys.argv.pop(1)); from infra.tracking import follower; follower.main()"
"""Finds this project also where it is not installed."""

logger = logging.getLogger(__name__)


class Tracker:
    """The process that sends the events of a run in `store_root` to MLflow; see `infra.tracking.follower`.

    It ends with this process, if that is killed, once it has sent the rest of the log.
    """

    def __init__(self, store_root: Path, run_id: str) -> None:
        packages = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            # Without the current folder, which may have modules of any name.
            [sys.executable, "-P", "-c", FOLLOW, packages, str(store_root), run_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._warnings = threading.Thread(target=self._warn, name="tracking", daemon=True)
        self._warnings.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Wait until the remaining events are sent; after `timeout_s` the rest is left to the next run or
        `arctic ui`."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(timeout_s)
            reason = f"its process ended with code {code}" if code else ""
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            reason = f"not done after {timeout_s:.0f} s"
        self._warnings.join()
        if reason:
            logger.warning(f"MLflow: {reason}. The next `arctic run` or `arctic ui` fills it in.")

    def _warn(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            logger.warning(line.rstrip("\n"))
