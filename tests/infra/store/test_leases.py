"""A result in object storage is built by one run at a time, on whichever machine."""

import os
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from infra.artifact import Artifact
from infra.context import StageContext
from infra.events import EventLog
from infra.plan import plan
from infra.runner import Outcome, run_inline
from infra.stage import Stage
from infra.store import Store, lease
from infra.store.objects import Version
from tests.infra.store.chains import chain, run, write
from tests.kit.servers.s3_server import S3


class Builds:
    """A stage that waits in the middle of its work, as long as a test wants."""

    def __init__(self) -> None:
        self.count = 0
        self.is_building, self.go_on = threading.Event(), threading.Event()

    def __call__(self, context: StageContext, inputs: dict[str, Artifact]) -> dict[str, float]:
        self.count += 1
        self.is_building.set()
        assert self.go_on.wait(60)
        context.progress(1, 1, "pages")
        return write(context, inputs)


@pytest.fixture
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BEAT_S", "LOOK_S"):
        monkeypatch.setattr(lease, name, 0.05)


def in_thread(store: Store, stages: list[Stage], name: str) -> tuple[threading.Thread, list[Outcome]]:
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(run(store, stages, name)[0]))
    thread.start()
    return thread, outcomes


@pytest.mark.usefixtures("quick_leases")
def test_two_runs_on_two_machines_build_a_stage_once(machine: Callable[[str], Store], monkeypatch: Any) -> None:
    monkeypatch.setattr("infra.runner.REPORT_S", 0.0)
    builds = Builds()
    first_store, second_store = machine("first"), machine("second")
    thread, first = in_thread(first_store, chain(builds), "one")
    assert builds.is_building.wait(60)
    log = EventLog(second_store.root / "runs" / "two")
    events: list[dict[str, Any]] = []

    def see(event: dict[str, Any]) -> None:
        events.append(event)
        builds.go_on.set()

    second = run_inline(plan(second_store, chain(builds)), second_store, log, see)
    log.close()
    thread.join()
    assert builds.count == 1
    assert events[0]["event"] == "waiting" and f"process {os.getpid()} on " in events[0]["needs"]
    assert first[0].ok and "source[web]" in second.reused
    manifests = [outcome.artifacts["filter[web]"].manifest for outcome in (first[0], second)]
    assert manifests[0] == manifests[1]


@pytest.mark.usefixtures("quick_leases")
def test_a_builder_that_stopped_renewing_is_taken_over_and_ends_when_it_wakes(
    machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "STALE_S", 0.3)
    sleeper, builds = Builds(), Builds()
    builds.go_on.set()
    asleep, renew = threading.Event(), lease.Lease.renew
    asleep.set()
    monkeypatch.setattr(lease.Lease, "renew", lambda self: None if asleep.is_set() else renew(self))
    first_store, second_store = machine("first"), machine("second")
    thread, first = in_thread(first_store, chain(sleeper), "one")
    assert sleeper.is_building.wait(60)
    waker, second = in_thread(second_store, chain(builds), "two")
    assert builds.is_building.wait(60)
    asleep.clear()
    waker.join()
    sleeper.go_on.set()
    thread.join()
    assert second[0].ok and builds.count == 1
    [error] = first[0].failed.values()
    assert re.search(r"took the stage over|lease was removed", error)


def test_two_builders_at_once_without_leases_end_with_the_same_bytes(
    s3: S3, machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Correctness does not rest on leases: here nobody asks for one."""
    monkeypatch.setattr(
        lease, "_acquired", lambda selected, name, _waiting: lease.Lease(selected, name, b"", Version("", None))
    )
    builds = Builds()
    runs = [in_thread(machine(name), chain(builds), name) for name in ("first", "second")]
    while builds.count < 2:
        assert builds.is_building.wait(60)
    builds.go_on.set()
    for thread, _ in runs:
        thread.join()
    outcomes = [outcomes[0] for _, outcomes in runs]
    assert all(outcome.ok for outcome in outcomes)
    texts = {(outcome.artifacts["filter[web]"].path / "sub" / "text").read_text() for outcome in outcomes}
    assert texts == {"source[web]filter[web]"}
    assert outcomes[0].artifacts["source[web]"].manifest == outcomes[1].artifacts["source[web]"].manifest
