"""A bucket, and machines that share it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.store import Store
from infra.store.remote import WORK_VARIABLE
from tests.kit.servers.s3_server import CREDENTIALS, S3, running_s3


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_s3() as server:
        yield server


@pytest.fixture
def machine(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Store]:
    """The store as seen from a machine with a separate working folder."""

    def machine(name: str) -> Store:
        monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / name))
        return Store(s3.address()).open()

    return machine
