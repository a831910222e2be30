"""Results in object storage: committed by the manifest alone, fetched by digest."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.artifact import Artifact
from infra.context import StageContext
from infra.events import EventLog
from infra.fanout import map_shards
from infra.plan import plan
from infra.runner import Outcome, run_inline
from infra.stage import Stage
from infra.store import MANIFEST, Store, StoreError, cache, objects
from infra.store.cache import LIMIT_VARIABLE
from infra.store.objects import AddressError, Objects
from tests.infra.store.chains import chain, run, stored, write
from tests.kit.servers.s3_server import CREDENTIALS, S3


def test_another_machine_reuses_results_and_fetches_only_the_files_it_reads(
    s3: S3, machine: Callable[[str], Store]
) -> None:
    first, _ = run(machine("first"), chain())
    assert first.ok
    store = machine("second")
    assert [step.action for step in plan(store, chain())] == ["reuse", "reuse"]
    source, filtered = (store.find(stage) for stage in chain())
    assert source and filtered
    assert filtered.manifest == first.artifacts["filter[web]"].manifest
    assert not list(store.root.rglob("text"))
    assert (filtered.path / "sub" / "text").read_text() == "source[web]filter[web]"
    assert [file.parents[1] for file in store.root.rglob("text")] == [filtered.folder]
    assert {"runs/run/events.jsonl"} < stored(s3).keys()


def test_the_first_manifest_is_the_result_and_a_late_attempt_takes_it_over(machine: Callable[[str], Store]) -> None:
    stage, late_store = chain()[0], machine("late")
    scratch = late_store.scratch(stage)
    (scratch / "late").write_text("other bytes")
    early = run(machine("early"), [stage])[0].artifacts[stage.id]
    result = late_store.commit(stage, scratch, metrics={}, quarantined=[], seconds=0, provenance={}, shards={})
    assert result.manifest == early.manifest
    assert (result.path / "sub" / "text").read_text() == "source[web]"
    assert not scratch.exists() and not (result.folder / "late").exists()


def test_without_its_manifest_a_result_never_happened(s3: S3, machine: Callable[[str], Store]) -> None:
    store = machine("first")
    run(store, chain())
    name = f"manifests/source/web-{chain()[0].key}.json"
    Objects(s3.address()).delete(name)
    assert [step.action for step in plan(store, chain())] == ["build", "reuse"]
    run(store, chain())
    assert name in stored(s3)


def test_finished_shards_of_a_broken_attempt_are_not_done_again_on_another_machine(
    s3: S3, machine: Callable[[str], Store]
) -> None:
    done: list[int] = []
    is_mended = False

    def shard(number: int, folder: Path) -> dict[str, int]:
        if number == 3 and not is_mended:
            raise ValueError("shard 3 breaks")
        done.append(number)
        (folder / f"{number}.txt").write_text(str(number))
        return {"rows": 1}

    def work(context: StageContext, inputs: object) -> dict[str, float]:
        return {"rows": float(len(map_shards(context, shard, range(5))))}

    assert run(machine("first"), chain(work)[:1])[0].failed == {"source[web]": "ValueError: shard 3 breaks"}
    assert [name for name in stored(s3) if name.startswith("leases")] == []
    is_mended = True
    outcome, events = run(machine("second"), chain(work)[:1])
    assert outcome.ok and done == [0, 1, 2, 3, 4]
    assert events[0]["attempt"] == 2
    assert [name for name in stored(s3) if name.startswith("states")] == []


def test_a_network_that_drops_requests_changes_nothing(s3: S3, machine: Callable[[str], Store], tmp_path: Path) -> None:
    calm = Store(tmp_path / "folder").open()
    expected = {name: artifact.manifest.digests() for name, artifact in run(calm, chain())[0].artifacts.items()}
    s3.faults.dropped = 0.2
    for number in range(5):
        outcome, _ = run(machine(f"machine-{number}"), chain(), f"run-{number}")
        assert {name: artifact.manifest.digests() for name, artifact in outcome.artifacts.items()} == expected
        assert (outcome.artifacts["filter[web]"].path / "sub" / "text").exists()
    assert s3.faults.num_dropped > 5


DENIED = (403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")


EXPIRED = (400, "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>")


SLOW_DOWN = (503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://bucket/runs", r"unknown kind of store. Give a folder, or one of s3://, gs://, az://"),
        ("s3://KEY:secret@bucket/runs", r"s3://\*\*\*@bucket/runs: an address holds no credentials. Give AWS_ACCESS"),
        ("s3:///runs", r"names no bucket. Write s3://BUCKET/PREFIX"),
        ("s3://bucket/runs?zone=eu", r"zone is no option of s3://. Options are region, endpoint_override"),
    ],
)
def test_a_malformed_address_is_named_with_its_mend(address: str, message: str) -> None:
    with pytest.raises(AddressError, match=message):
        Store(address)


def test_a_bucket_that_does_not_exist_is_named(s3: S3) -> None:
    with pytest.raises(StoreError, match=r"s3://none/runs/probes/\w+: 404 Not Found: NoSuchBucket.* make the bucket"):
        Store(s3.address(bucket="none")).open()
    with pytest.raises(StoreError, match=r"s3://none/runs/manifests: 404 Not Found: NoSuchBucket.* make the bucket"):
        plan(Store(s3.address(bucket="none")), chain())


def test_missing_permission_is_named_with_the_credentials_to_give(s3: S3) -> None:
    s3.faults.refusals.append(DENIED)
    with pytest.raises(StoreError, match=r"403 Forbidden: AccessDenied.*credentials are refused.*AWS_ACCESS_KEY_ID"):
        Store(s3.address()).open()


def test_a_token_that_expires_in_mid_run_fails_the_stage_and_the_next_run_goes_on(
    s3: S3, machine: Callable[[str], Store]
) -> None:
    def expire(context: StageContext, inputs: dict[str, Artifact]) -> dict[str, float]:
        s3.faults.refusals += [EXPIRED] * 50
        return write(context, inputs)

    outcome, _ = run_without_publishing(machine("first"), chain(expire))
    assert re.search(r"ExpiredToken.*have expired: give AWS_ACCESS_KEY_ID", outcome.failed["source[web]"])
    s3.faults.refusals.clear()
    Objects(s3.address()).delete(*(name for name in stored(s3) if name.startswith("leases")))
    assert run(machine("second"), chain())[0].ok


def run_without_publishing(store: Store, stages: list[Stage]) -> tuple[Outcome, list[dict[str, Any]]]:
    log, events = EventLog(store.root / "runs" / "run"), []
    outcome = run_inline(plan(store, stages), store, log, events.append)
    log.close()
    return outcome, events


def test_throttling_is_waited_out_up_to_a_limit(
    s3: S3, machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.faults.refusals += [SLOW_DOWN] * 3
    assert run(machine("first"), chain())[0].ok
    monkeypatch.setattr(objects, "MAX_RETRIES", 1)
    s3.faults.refusals += [SLOW_DOWN] * 50
    with pytest.raises(StoreError, match=r"503 Service Unavailable: SlowDown.*Given up after 1 repeats or 180 s"):
        Store(s3.address()).refresh()


def test_a_damaged_object_is_refused_by_name(s3: S3, machine: Callable[[str], Store]) -> None:
    run(machine("first"), chain())
    artifact = machine("second").find(chain()[0])
    assert artifact
    [sha256] = artifact.manifest.digests().values()
    Objects(s3.address()).put(f"files/{sha256}", b"source[wXb]")
    with pytest.raises(StoreError, match=rf"files/{sha256}: damaged, its bytes have another digest"):
        _ = artifact.path
    assert not list(artifact.folder.rglob("*text*"))


@pytest.mark.parametrize("rot", [b"source[wXb]", None])
def test_a_damaged_result_is_dropped_with_its_content_and_built_again(
    s3: S3, machine: Callable[[str], Store], rot: bytes | None
) -> None:
    expected = run(machine("first"), chain())[0].artifacts["source[web]"].manifest.digests()
    store = machine("second")
    artifact = store.find(chain()[0])
    assert artifact and store.damaged(artifact) == []
    [sha256] = expected.values()
    if rot is None:
        Objects(s3.address()).delete(f"files/{sha256}")
    else:
        Objects(s3.address()).put(f"files/{sha256}", rot)
    assert store.damaged(artifact) == ["sub/text"]
    store.drop(artifact, ["sub/text"])
    again = run(machine("third"), chain())[0].artifacts["source[web]"]
    assert again.manifest.digests() == expected
    assert store.damaged(again) == []


def test_the_working_folder_is_bounded_and_what_made_room_is_fetched_again(
    machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(context: StageContext, inputs: object) -> dict[str, float]:
        (context.out / "big").write_bytes(context.stage_id.encode() * 1000)
        return {}

    stages = [Stage("source", name, 1, {}, {}, fill) for name in ("one", "two")]
    run(machine("first"), stages)
    store = machine("second")
    store.refresh()
    one, two = (store.find(stage) for stage in stages)
    assert one and two
    monkeypatch.setenv(LIMIT_VARIABLE, str(16_000 / 2**30))
    monkeypatch.setattr(cache, "_in_use", {})
    assert (one.path / "big").exists()
    with pytest.raises(StoreError, match=r"11,000 bytes of inputs do not fit .* Raise ARCTIC_WORK_GIB"):
        _ = two.path
    cache._in_use.clear()
    assert (two.path / "big").exists() and not (one.folder / "big").exists()
    cache._in_use.clear()
    assert (one.path / "big").read_bytes() == b"source[one]" * 1000
    assert (two.folder / MANIFEST).exists() and not (two.folder / "big").exists()


def test_a_limit_that_is_no_number_is_named(machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    run(machine("first"), chain())
    artifact = machine("second").find(chain()[0])
    monkeypatch.setenv(LIMIT_VARIABLE, "lots")
    assert artifact
    with pytest.raises(StoreError, match=r"ARCTIC_WORK_GIB = 'lots': give a number of GiB"):
        _ = artifact.path


def test_no_secret_is_stored(s3: S3, machine: Callable[[str], Store]) -> None:
    store = machine("first")
    run(store, chain())
    contents = [*stored(s3).values(), *(file.read_bytes() for file in store.root.rglob("*") if file.is_file())]
    assert len(contents) > 8
    assert not [content for content in contents if CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() in content]
