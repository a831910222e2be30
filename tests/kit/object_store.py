"""What tests of every object store share."""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_recipes.schema import SourceSection
from pipelines import source
from pipelines.source.io import object_stores
from tests.kit.serving import serving


@contextmanager
def running_object_store(handler: type[BaseHTTPRequestHandler], options: str = "") -> Iterator[ThreadingHTTPServer]:
    """A server with `objects`, content by "bucket/name", and the `options` that lead an address there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.objects = True, {}
    server.options = f"?endpoint_override=127.0.0.1:{server.server_port}&scheme=http{options}"
    with serving(server):
        yield server


def refuses_a_changed_object_and_loses_a_deleted_one(
    section: SourceSection, objects: MutableMapping[str, bytes], attempt: Callable[..., object], folder: Path
) -> None:
    """Check what becomes of "bucket/a.warc.gz", the first object of `section`, if it changes after the plan."""
    stage = source.stage("web", section, source.pin(section, folder), folder)
    assert stage.params["pins"]["inputs"][0]["files"]["bucket/a.warc.gz"] == {
        "version": "modified 2024-12-01T00:00:00+00:00",
        "size_bytes": len(objects["bucket/a.warc.gz"]),
    }
    part = next(each.reader for each in source.inputs.plan(section, stage.params["pins"], folder))
    objects["bucket/a.warc.gz"] += b"more"
    with pytest.raises(RuntimeError, match=r"bucket/a.warc.gz: changed since the run was planned"):
        attempt(stage, "changed")
    del objects["bucket/a.warc.gz"]
    with pytest.raises(object_stores.StoreReadError, match="bucket/a.warc.gz: no longer there"):
        part.file.fetch(part.pinned, folder)
