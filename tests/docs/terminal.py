"""A terminal in which the blocks of a page run one after the other, as its reader types them."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ISOLATED = ["unshare", "--map-current-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""Loopback ports of its own, so that servers may have the ports that a page prints, and processes that end with it."""
END = "--end of block--"


class Terminal:
    """A shell in a folder: variables, the current folder and servers stay from block to block."""

    def __init__(self, folder: Path, **variables: str) -> None:
        dropped = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
        environment = {key: value for key, value in os.environ.items() if key not in dropped}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        start = "ip link set lo up; exec bash" if _can_isolate() else "exec bash"
        self._folder = folder
        self._shell = subprocess.Popen(
            [*(ISOLATED if _can_isolate() else ()), "bash", "-c", start],
            cwd=folder,
            env={**environment, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,
        )
        self._num_blocks = 0
        self._has_server = False
        self._exit_codes = ""
        self._type("set -m; server=")

    def run(self, code: str, language: str = "bash") -> str:
        """The output of a block. Raises AssertionError if a command fails."""
        file = self._file(code)
        call = f". {file}" if language == "bash" else f'python -c "$(cat {file})"'
        return self._type(f"set -euo pipefail; {{ {call}\n}} </dev/null; set +eu", code)

    def serve(self, code: str, port: int) -> str:
        """Run the lines of a block, leave the last one running, and return its output once it has printed an address
        with `port`, which listens. It is interrupted by Ctrl-C before the next such block, and at the end."""
        self.interrupt()
        *lines, last = code.rstrip().splitlines()
        self.run("\n".join(lines))
        file, log = self._file(last), f"{self._file('')}.log"
        self._type(f". {file} </dev/null >{log} 2>&1 & server=$!")
        self._has_server = True
        # Ray's own command counts its processes, which Ctrl-C ends as well, as lost.
        self._exit_codes = "0 1 130" if last.startswith("ray ") else "0 130"
        is_ready = f"(: </dev/tcp/127.0.0.1/{port}) 2>/dev/null && grep -q ':{port}' {log}"
        wait = f"while ! {{ {is_ready}; }}; do kill -0 $server || {{ cat {log}; exit 1; }}; sleep 0.2; done; cat {log}"
        return self._type(wait, code)

    def interrupt(self) -> None:
        """Press Ctrl-C in the terminal of the server, which then ends as a program that was asked to."""
        if self._has_server:
            self._has_server = False
            ended = f'[[ " {self._exit_codes} " == *" $code "* ]] || exit $code'
            self._type(f"kill -INT -- -$server; wait $server; code=$?; {ended}")

    def close(self) -> None:
        """End the shell and everything that still runs in it."""
        self._shell.stdin.close()
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGTERM)
        self._shell.wait(60)

    def _file(self, code: str) -> str:
        self._num_blocks += 1
        name = self._folder / f".block_{self._num_blocks}"
        name.write_text(code)
        return str(name)

    def _type(self, command: str, code: str = "") -> str:
        self._shell.stdin.write(f"{command}\necho; echo '{END}'\n")
        self._shell.stdin.flush()
        output = []
        for line in self._shell.stdout:
            if line.strip() == END:
                return "".join(output)
            output.append(line)
        raise AssertionError(f"{code or command}\n{''.join(output)}")


def _hear_ctrl_c() -> None:
    """Not inherited from a test run in the background of a script, and no shell can undo it later."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _can_isolate() -> bool:
    if not all(map(shutil.which, ("unshare", "ip"))):
        return False
    return subprocess.run([*ISOLATED, "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0
