"""Programs that import the standard library's modules, in a Python without site packages and in one environment."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TIMEOUT_S = 300
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent", "PATH": "/usr/bin"}


def run_isolated(program: Path, modules: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON lines that `program` prints for the names of `modules` on its standard input: the same wherever this
    version of Python is installed. Raises RuntimeError if the program fails."""
    # -P and -S rather than -I, which would ignore PYTHONHASHSEED.
    command = [sys.executable, "-s", "-S", "-P", "-X", "utf8", str(program)]
    finished = subprocess.run(
        command,
        input="\n".join(modules),
        env=ENVIRONMENT,
        cwd="/",
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"{program.name} ended with {finished.returncode}: {finished.stderr[-500:]}")
    return [json.loads(line) for line in finished.stdout.splitlines()]
