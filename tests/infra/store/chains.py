"""A chain of two stages in object storage, and runs of it."""

from typing import Any

from infra.events import EventLog
from infra.plan import plan
from infra.runner import Outcome, run_inline
from infra.stage import Stage
from infra.store import Store
from infra.store.objects import Objects
from tests.kit.servers.s3_server import S3
from tests.kit.stages import write


def chain(work: Any = write) -> list[Stage]:
    source = Stage("source", "web", 1, {"pages": 3}, {}, work)
    return [source, Stage("filter", "web", 1, {}, {"source": source}, write)]


def run(store: Store, stages: list[Stage], name: str = "run") -> tuple[Outcome, list[dict[str, Any]]]:
    log, events = EventLog(store.root / "runs" / name), []
    outcome = run_inline(plan(store, stages), store, log, events.append)
    log.close()
    store.publish_run(name)
    return outcome, events


def stored(s3: S3) -> dict[str, bytes]:
    everything = Objects(s3.address())
    return {entry.name: everything.get(entry.name) for entry in everything.entries()}
