"""Small runs in a store, in a folder or in object storage."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from infra.plan import plan
from infra.session import RunInfo, RunResult, execute
from infra.stage import Stage
from infra.store import Store
from infra.store.remote import WORK_VARIABLE
from tests.kit.servers.s3_server import CREDENTIALS, S3, running_s3
from tests.kit.stages import write

Run = Callable[..., RunResult]


def chain(pages: int = 3) -> list[Stage]:
    """`source` with `pages` in its key, and `filter` behind it."""
    source = Stage("source", "web", 1, {"pages": pages}, {}, write, inline=True)
    return [source, Stage("filter", "web", 1, {}, {"source": source}, write, inline=True)]


def run(store: Store, stages: Sequence[Stage], name: str = "tiny") -> RunResult:
    return execute(plan(store, list(stages)), store, RunInfo(name, {}, {"lock.json": f'{{"name": "{name}"}}'}))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    with running_s3() as server:
        yield server


@pytest.fixture(autouse=True)
def without_mlflow(untracked: None) -> None: ...


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An open store of each kind."""
    location = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3").address()
    return Store(location).open()
