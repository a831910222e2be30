"""Ways to disturb a run: each acts on its processes, its disk or its network, and lets go by itself."""

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.kit.servers.s3_server import S3

PAUSE_S = 2.0
TROUBLE_S = 4.0
"""How long a process is stopped, and a disk or network is bad."""


@dataclass(frozen=True)
class Victim:
    """A run: its driver's process, the mark in the environment of all its processes, its disk, and its S3 or None."""

    driver: int
    mark: str
    disk: Path
    s3: S3 | None

    def processes(self) -> list[psutil.Process]:
        """The driver and all that it started, in any generation."""
        return marked(self.mark)

    def shared_memory(self) -> set[Path]:
        """Files in shared memory that the processes have mapped and that have a name."""
        files = set()
        for process in self.processes():
            with suppress(psutil.Error):
                files |= {Path(each.path) for each in process.memory_maps() if each.path.startswith("/dev/shm/")}
        return {file for file in files if file.exists()}

    def named(self, *parts: str) -> list[psutil.Process]:
        """Those whose command line has one of `parts`."""
        result = []
        for process in self.processes():
            with suppress(psutil.Error):
                if any(part in " ".join(process.cmdline()) for part in parts):
                    result.append(process)
        return result


def marked(mark: str) -> list[psutil.Process]:
    """Processes with a mark in their environment."""
    result = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, psutil.Error):
            if mark.encode() in (folder / "environ").read_bytes():
                process = psutil.Process(int(folder.name))
                if process.status() != psutil.STATUS_ZOMBIE:
                    result.append(process)
    return result


def kill(processes: list[psutil.Process]) -> bool:
    """Whether there was one to kill."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    return bool(processes)


def kill_driver(victim: Victim, _draw: random.Random) -> bool:
    with suppress(ProcessLookupError):
        os.kill(victim.driver, signal.SIGKILL)
        return True
    return False


def kill_worker(victim: Victim, draw: random.Random) -> bool:
    workers = victim.named("ray::_commit_shard", "ray::source", "ray::dedup", "ray::tokenize", "ray::mix", "ray::IDLE")
    return kill([draw.choice(workers)]) if workers else False


def kill_training(victim: Victim, _draw: random.Random) -> bool:
    return kill(victim.named("ray::train"))


def kill_raylet(victim: Victim, _draw: random.Random) -> bool:
    return kill(victim.named("raylet/raylet"))


def kill_machine(victim: Victim, _draw: random.Random) -> bool:
    return kill(victim.processes())


def pause(victim: Victim, draw: random.Random) -> bool:
    processes = victim.processes()
    if not processes:
        return False
    process = draw.choice(processes)
    with suppress(psutil.Error):
        process.suspend()
        time.sleep(PAUSE_S)
        process.resume()
        return True
    return False


def fill_disk(victim: Victim, _draw: random.Random) -> bool:
    ballast = victim.disk / "ballast"
    with ballast.open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(2**20))
            file.flush()
    deadline = time.monotonic() + TROUBLE_S
    while time.monotonic() < deadline and psutil.pid_exists(victim.driver):
        time.sleep(0.1)
    ballast.unlink()
    return True


def drop_requests(victim: Victim, _draw: random.Random) -> bool:
    assert victim.s3
    victim.s3.faults.dropped = 0.3
    time.sleep(TROUBLE_S)
    victim.s3.faults.dropped = 0.0
    return True


def refuse_requests(victim: Victim, draw: random.Random) -> bool:
    assert victim.s3
    body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    victim.s3.faults.refusals[:] = [(503, body)] * draw.randint(1, 20)
    return True


def delay_requests(victim: Victim, _draw: random.Random) -> bool:
    assert victim.s3
    victim.s3.faults.delay_s = 1.0
    time.sleep(TROUBLE_S)
    victim.s3.faults.delay_s = 0.0
    return True


Fault = Callable[[Victim, random.Random], bool]
"""Disturbs a run; False if there was nothing to disturb."""
ANYWHERE: Mapping[str, Fault] = {
    "SIGKILL of the driver": kill_driver,
    "SIGKILL of all processes": kill_machine,
    "SIGSTOP for 2 s": pause,
    "full disk for 4 s": fill_disk,
}
ON_RAY: Mapping[str, Fault] = {
    "SIGKILL of a worker": kill_worker,
    "SIGKILL of the training process": kill_training,
    "SIGKILL of the raylet": kill_raylet,
}
ON_S3: Mapping[str, Fault] = {
    "30 % of requests fail for 4 s": drop_requests,
    "503 to 1 to 20 requests": refuse_requests,
    "requests take 1 s longer for 4 s": delay_requests,
}
FLIP = "a bit of a committed file flips"
