"""Fixtures of WARC bytes and of a web server on loopback."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from pipelines.source.io import http_client
from pipelines.source.io.http_client import HttpClient
from pipelines.source.web.warc.responses import Damage, Response, read_responses
from tests.kit.servers.web_server import WebServer, ignoring_ranges, running_server, silent, stating, status, truncated
from tests.kit.web.warc import PACK, crawl, html, http, record


@pytest.fixture(scope="session")
def warc() -> SimpleNamespace:
    """Builders of WARC bytes: html, http, record, pack by name, crawl."""
    return SimpleNamespace(html=html, http=http, record=record, pack=PACK, crawl=crawl)


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[list[Response], list[Damage]]]:
    """`read(data, **limits)`: the reader's results for the bytes of a file, responses and damages."""
    path = tmp_path_factory.mktemp("warc") / "crawl.warc"

    def read(data: bytes, **limits: int) -> tuple[list[Response], list[Damage]]:
        path.write_bytes(data)
        result = list(read_responses(path, **limits))
        return [x for x in result if isinstance(x, Response)], [x for x in result if isinstance(x, Damage)]

    return read


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A running server without files."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def respond() -> SimpleNamespace:
    """The ways to answer: status, truncated, stating, ignoring_ranges, silent."""
    return SimpleNamespace(
        status=status, truncated=truncated, stating=stating, ignoring_ranges=ignoring_ranges, silent=silent
    )


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that reading and planning would have waited; none are."""
    waited: list[float] = []
    for name in ("CLIENT", "PLANNING_CLIENT"):
        monkeypatch.setattr(http_client, name, HttpClient(attempts=4, sleep=waited.append))
    return waited
