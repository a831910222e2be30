"""Google Cloud Storage and Azure Blob Storage keep results as S3 does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.plan import plan
from infra.store import Store, lease
from infra.store.objects import ChangedObjectError, ExistsError, MissingObjectError, ObjectError, Objects
from infra.store.remote import WORK_VARIABLE
from tests.infra.store.chains import chain, run
from tests.kit.servers.blob_server import running_az, running_gs

PARTS = 3
PART_BYTES = 5 * 2**20


@pytest.fixture(params=[running_gs, running_az], ids=["gs", "az"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with request.param(tmp_path) as (address, credentials):
        for name, value in credentials.items():
            monkeypatch.setenv(name, value)
        yield address


@pytest.fixture
def machine(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Store]:
    """The store as seen from a machine with a separate working folder."""

    def machine(name: str) -> Store:
        monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / name))
        return Store(address).open()

    return machine


def test_of_several_writers_the_first_creates_and_only_the_newest_version_can_be_replaced(address: str) -> None:
    objects = Objects(address)
    first = objects.create("lease", b"1")
    with pytest.raises(ExistsError):
        objects.create("lease", b"2")
    second = objects.replace("lease", b"3", first)
    with pytest.raises(ChangedObjectError):
        objects.replace("lease", b"4", first)
    content, entry = objects.read("lease")
    assert (content, entry.version) == (b"3", second)
    objects.replace("lease", b"5", entry.version)
    objects.delete("lease", "lease")
    with pytest.raises(ChangedObjectError):
        objects.replace("lease", b"6", second)
    with pytest.raises(MissingObjectError):
        objects.get("lease")


def test_objects_are_written_listed_copied_and_read_in_parts(address: str, tmp_path: Path) -> None:
    objects = Objects(address)
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (PARTS * PART_BYTES // 256))
    objects.put("a/large file", large)
    objects.copy("a/large file", "b/copy+of=it")
    objects.put("a/b/é", b"")
    assert {entry.name: entry.bytes for entry in objects.entries()} == {
        "a/large file": PARTS * PART_BYTES,
        "a/b/é": 0,
        "b/copy+of=it": PARTS * PART_BYTES,
    }
    assert [entry.name for entry in objects.children("a")] == ["a/large file"]
    head = objects.head("b/copy+of=it")
    assert head and objects.head("b") is None
    objects.download(head.name, tmp_path / "copy", head.etag)
    assert (tmp_path / "copy").read_bytes() == large.read_bytes()
    with pytest.raises(ChangedObjectError):
        objects.download(head.name, tmp_path / "copy", '"another"')


def test_a_chain_is_built_once_and_reused_by_another_machine(machine: Callable[[str], Store]) -> None:
    first, _ = run(machine("first"), chain())
    assert first.ok
    store = machine("second")
    assert [step.action for step in plan(store, chain())] == ["reuse", "reuse"]
    result = store.find(chain()[1])
    assert result and result.manifest == first.artifacts["filter[web]"].manifest
    assert (result.path / "sub" / "text").read_text() == "source[web]filter[web]"


def test_a_lease_is_renewed_and_one_that_is_not_is_taken_over(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "STALE_S", 0.2)
    monkeypatch.setattr(lease, "LOOK_S", 0.05)
    objects = Objects(address)
    waits: list[str] = []
    with lease.leased(objects, "leases/train", lambda holder, _: waits.append(holder)) as first:
        before = first.version
        first.renew()
        assert first.version != before and not first.lost
        with lease.leased(objects, "leases/train", lambda holder, _: waits.append(holder)) as second:
            first.renew()
            assert waits and "took the stage over" in first.lost
            second.require()
    assert objects.head("leases/train") is None


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("s3://bucket/runs?region=us-east-1", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("gs://bucket/runs", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://bucket/runs", "AZURE_STORAGE_ACCOUNT_KEY"),
    ],
)
def test_a_machine_without_credentials_is_told_how_to_give_them(
    address: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "127.0.0.1:9"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GCE_METADATA_HOST", nowhere)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://{nowhere}")
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"http://{nowhere}")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    with pytest.raises(ObjectError, match=f"no credentials.*{remedy}"):
        Objects(address, patience_s=0.1).get("manifest")
