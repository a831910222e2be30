"""Training on two workers, one of which is killed: the result has the bytes of an undisturbed run."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from arctic_model.training.loop import TrainingError
from infra.resources.capacity import CapacityError
from tests.kit.files import digests
from tests.kit.servers.local_ray import local_ray

pytestmark = pytest.mark.slow
PAIR = {"num_workers": 2, "expert_parallel_size": 2, "cpus_per_worker": 0.5}
STEPS = 100
EVERY_STEPS = 4
"""Between two checkpoints, as in the shared section."""


def when_checkpointed(folder: Path, act: Callable[[], None]) -> threading.Thread:
    """A thread that acts once training has committed its second checkpoint."""

    def watch() -> None:
        deadline = time.monotonic() + 120
        while len(list(folder.glob("checkpoints/step-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize("shared", [{}, {"context_parallel_size": 2}], ids=["own sequences", "shared sequences"])
def test_local_processes_continue_after_a_kill(workshops: Callable, shared: dict[str, int]) -> None:
    import multiprocessing

    calm, killed = workshops("calm"), workshops("killed")
    expected, _ = calm.run("phase", calm.inputs(1, steps=STEPS), calm.stage(**PAIR, **shared))

    def kill() -> None:
        os.kill(multiprocessing.active_children()[-1].pid, signal.SIGKILL)

    thread = when_checkpointed(killed.home / "phase-state", kill)
    with pytest.raises(Exception, match="SIGKILL|Connection closed"):
        killed.run("phase", killed.inputs(1, steps=STEPS), killed.stage(**PAIR, **shared))
    thread.join()
    # Steps are reported while they are trained, so some of the lost ones may be, and the next attempt reports all.
    reported = [step for step, _ in killed.points()]
    assert reported == list(range(1, len(reported) + 1))
    assert len(reported) <= STEPS
    killed.events.clear()
    result, _ = killed.run("phase", killed.inputs(1, steps=STEPS), killed.stage(**PAIR, **shared))
    assert digests(result) == digests(expected)
    assert [step for step, _ in killed.points()] == list(range(1, STEPS + 1))


@pytest.fixture
def cluster() -> Iterator[None]:
    with local_ray(num_cpus=2):
        yield


def test_actors_restart_from_their_last_checkpoint_after_a_kill(workshops: Callable, cluster: None) -> None:
    """The kill comes after the first points, which the next attempt reports again, so some steps come twice."""
    from infra.events import Channel

    steps = 4 * STEPS
    calm, killed = workshops("calm"), workshops("killed")
    calm.events = killed.events = Events(Channel())
    expected, _ = calm.run("phase", calm.inputs(1, steps=steps), calm.stage(**PAIR), parallel=True)
    progress, points = killed.events.take()
    assert progress
    assert [step for step, _ in points] == list(range(1, steps + 1))

    before: list[Any] = []

    def kill() -> None:
        while not before:
            before.extend(killed.events.take()[1])
            time.sleep(0.05)
        started = psutil.Process().children(recursive=True)
        next(process for process in started if "GroupMember" in " ".join(process.cmdline())).kill()

    thread = when_checkpointed(killed.home / "phase-state", kill)
    result, _ = killed.run("phase", killed.inputs(1, steps=steps), killed.stage(**PAIR), parallel=True)
    thread.join()
    assert digests(result) == digests(expected)
    _, points = killed.events.take()
    assert [step for step, _ in points][-steps:] == list(range(1, steps + 1))
    assert len(before) + len(points) > steps


def test_an_error_of_the_work_is_told_and_not_tried_again(workshops: Callable, cluster: None) -> None:
    from infra.events import Channel

    workshop = workshops("wrong")
    workshop.events = Events(Channel())
    with pytest.raises(TrainingError, match=r"step \d+: the"):
        workshop.run(
            "phase", workshop.inputs(1), workshop.stage(**PAIR, peak_lr=1e18, max_skipped_steps=3), parallel=True
        )
    with pytest.raises(CapacityError, match=r"needs 2 x 2 CPUs, the cluster can have 2 CPUs"):
        workshop.run("phase", workshop.inputs(1), workshop.stage(**PAIR | {"cpus_per_worker": 2.0}), parallel=True)


class Events:
    """A list of events that workers of the cluster fill."""

    def __init__(self, channel: Callable) -> None:
        self.append = channel

    def take(self) -> tuple[list, list]:
        events = self.append.take()
        points = [tuple(point) for event in events if event["event"] == "metrics" for point in event["points"]]
        return [event for event in events if event["event"] == "progress"], points
