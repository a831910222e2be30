"""Object storage whose listings miss new objects for a while, and machines whose clocks differ: work may be looked up
more often, but nothing is lost and no result differs."""

import time
from collections.abc import Callable

import pytest

from infra.plan import plan
from infra.store import Store
from infra.store.garbage import garbage
from tests.infra.store.chains import chain, run
from tests.kit.servers.s3_server import S3

DAY_S = 86_400.0


def test_a_result_that_no_listing_shows_yet_is_found_and_not_built_again(
    s3: S3, machine: Callable[[str], Store]
) -> None:
    s3.faults.listing_delay_s = 3600
    first, _ = run(machine("first"), chain())
    again, events = run(machine("first"), chain(), "again")
    other, events_of_other = run(machine("second"), chain(), "other")
    for outcome in (again, other):
        assert {name: artifact.manifest for name, artifact in outcome.artifacts.items()} == {
            name: artifact.manifest for name, artifact in first.artifacts.items()
        }
    assert [event for event in events + events_of_other if event["event"] == "stage_started"] == []


def test_a_refresh_keeps_results_that_are_stored_and_drops_those_that_are_not(
    s3: S3, machine: Callable[[str], Store]
) -> None:
    store = machine("first")
    run(store, chain())
    s3.faults.listing_delay_s = 3600
    store.refresh()
    assert [step.action for step in plan(store, chain())] == ["reuse", "reuse"]
    source = store.find(chain()[0])
    assert source and store.remote
    store.remote.drop(source.folder, [])
    store.refresh()
    assert [step.action for step in plan(store, chain())] == ["build", "reuse"]


@pytest.mark.parametrize("skew_s", [-30 * DAY_S, 30 * DAY_S])
def test_a_clock_that_is_wrong_takes_no_lease_and_no_content(
    s3: S3, machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch, skew_s: float
) -> None:
    right = time.time
    run(machine("first"), chain())
    needed = {f"{stage.name}/{stage.subject}-{stage.key}" for stage in chain()}
    monkeypatch.setattr(time, "time", lambda: right() + skew_s)
    store = machine("second")
    assert [step.action for step in plan(store, chain())] == ["reuse", "reuse"]
    assert [item.name for item in garbage(store, needed) if item.kind != "cached files"] == []
