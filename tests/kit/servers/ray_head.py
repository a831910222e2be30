"""A Ray head that accepts jobs, for tests."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


class Head:
    """A Ray head in a separate process group, with its own token, ports and folder."""

    def __init__(self, folder: Path) -> None:
        self.token_file = folder / "token"
        self.token_file.touch(0o600)
        self.token_file.write_text(secrets.token_hex(32))
        self.port, self.dashboard_port, *others = _free_ports(5)
        names = ("ray-client-server", "dashboard-agent-listen", "dashboard-agent-grpc")
        command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--disable-usage-stats"]
        command += ["--num-cpus=2", f"--object-store-memory={100 * 2**20}", "--dashboard-host=127.0.0.1"]
        command += [f"--port={self.port}", f"--dashboard-port={self.dashboard_port}"]
        command += [f"--{name}-port={port}" for name, port in zip(names, others, strict=True)]
        # Sockets live below this folder, and their paths may have 107 characters only.
        self.temporary = Path("/tmp") / f"ray-{secrets.token_hex(3)}"
        self.process = subprocess.Popen(
            [*command, f"--temp-dir={self.temporary}"],
            env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)},
            stdout=(folder / "head.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"

    def wait(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the head ended while starting"
            try:
                socket.create_connection(("127.0.0.1", self.dashboard_port), 1).close()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("no dashboard after 120 s")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            shutil.rmtree(self.temporary, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
