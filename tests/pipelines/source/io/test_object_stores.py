"""Files of object stores, through obstore's own clients: S3, Google Cloud Storage and Azure on loopback."""

import pytest

from data_recipes import RecipeError
from infra.store import objects
from pipelines import source
from pipelines.source.io import object_stores
from pipelines.source.io.remote_file import StoreReadError
from pipelines.source.stage import SourceError
from tests.kit.servers.object_store import etag_of, running_object_store
from tests.pipelines.source.io.conftest import section

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AZURE_STORAGE_ACCOUNT_NAME": "test",
    "AZURE_STORAGE_ACCOUNT_KEY": "dGVzdA==",
}
OPTIONS = {"s3": "&region=us-east-1", "gs": "&anonymous=true", "az": ""}


@pytest.fixture(params=OPTIONS)
def store(request, monkeypatch):
    """Objects of a running store: its `scheme`, and the `options` that lead an address there."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_object_store(OPTIONS[request.param]) as server:
        server.scheme = request.param
        yield server


def address(store, path: str) -> str:
    return f"{store.scheme}://bucket/{path}{store.options}"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("crawl/a.warc.gz", ["a"]),
        ("crawl", ["a", "b", "deep/c"]),
        ("crawl/*.warc.gz", ["a", "b"]),
        ("crawl/**/*.warc.gz", ["a", "b", "deep/c"]),
        ("*/deep/[a-c].warc.gz", ["deep/c"]),
        ("crawl/[!a].*", ["b"]),
        ("", ["a", "b", "deep/c", "../crawler/d"]),
    ],
)
def test_objects_folders_and_globs_give_the_documents_of_the_files(store, build, warc, path, names):
    for number, name in enumerate(("a", "b", "deep/c")):
        store.objects[f"bucket/crawl/{name}.warc.gz"] = b"".join(warc.crawl(number + 2))
    hidden = dict.fromkeys(("bucket/crawl/._a.warc.gz", "bucket/crawl/.old/a.warc.gz"), b"no WARC file")
    store.objects |= hidden | {"bucket/crawl/readme.txt": b"", "bucket/crawler/d.warc.gz": b"".join(warc.crawl(5))}
    origins = [row["origin"] for row in build(section("warc", address(store, path)))]
    counts = {"a": 2, "b": 3, "deep/c": 4, "../crawler/d": 5}
    expected = {f"bucket/crawl/{name}.warc.gz".replace("crawl/../", ""): counts[name] for name in names}
    assert {origin: origins.count(origin) for origin in origins} == expected


@pytest.mark.parametrize("name", ["with blank", "50%", "a+b", "Straße", "a#b", "it's", "~a=b&c"])
def test_names_that_addresses_write_otherwise_are_read(store, build, name):
    store.objects[f"bucket/{name}/rows.jsonl"] = b'{"text": "one two"}\n'
    rows = build(section("jsonl", address(store, "")))
    assert [row["origin"] for row in rows] == [f"bucket/{name}/rows.jsonl"]


def test_an_object_that_changed_is_refused_and_one_that_is_gone_is_lost(store, attempt, tmp_path, warc):
    content = b"".join(warc.crawl(3))
    store.objects |= {f"bucket/{name}.warc.gz": content for name in "ab"}
    selected = section("warc", address(store, ""))
    stage = source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path)
    fingerprints = stage.params["fingerprints"]["inputs"][0]["files"]
    assert fingerprints["bucket/a.warc.gz"] == {"version": f"etag {etag_of(content)}", "size_bytes": len(content)}
    part = next(each.reader for each in source.from_recipe.plan(selected, stage.params["fingerprints"], tmp_path))
    # The same size at the same time: only the ETag differs.
    store.objects["bucket/a.warc.gz"] = content[:-1] + b"."
    with pytest.raises(RuntimeError, match=r"bucket/a.warc.gz: changed since the run was planned"):
        attempt(stage, "changed")
    del store.objects["bucket/a.warc.gz"]
    with pytest.raises(StoreReadError, match="bucket/a.warc.gz: no longer there"):
        part.file.fetch(part.fingerprint, tmp_path)


def test_an_object_that_changes_between_two_requests_is_refused(store, tmp_path, monkeypatch):
    store.objects["bucket/a.jsonl"] = b'{"text": "one two"}\n'
    file = object_stores.list_files(address(store, "a.jsonl"), lambda _: True, "paths.1")[0]
    head = objects.Objects.head

    def change_after_head(self, name):
        entry = head(self, name)
        store.objects["bucket/a.jsonl"] = b'{"text": "two one"}\n'
        return entry

    monkeypatch.setattr(objects.Objects, "head", change_after_head)
    with pytest.raises(RuntimeError, match=r"bucket/a.jsonl: changed since the run was planned"):
        file.fetch(file.fingerprint(), tmp_path)


def test_a_store_that_refuses_loses_the_file(store, attempt, tmp_path, monkeypatch):
    store.objects["bucket/a.jsonl"] = b'{"text": "one two"}\n'
    selected = section("jsonl", address(store, "a.jsonl"))
    stage = source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise objects.ObjectError("bucket/a.jsonl: 503 Slow Down")

    monkeypatch.setattr(objects.Objects, "download", refuse)
    with pytest.raises(SourceError, match=r"1 of 1 files could not be read.*503 Slow Down"):
        attempt(stage, "refused")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{scheme}://bucket/none/*.warc.gz{options}", r"paths.1 = '.*://bucket/none/\*.warc.gz.*: holds no WARC file"),
        ("{scheme}://bucket/a.warc.gz?zone=eu&region=x", r"(zone|region) is no option of .*://. Options are "),
        (
            "{scheme}://bucket/a.warc.gz?endpoint_override=127.0.0.1:9&scheme=http",
            r"cannot be listed \(.*://bucket/a.warc.gz: .*Correct the address, or give credentials \(",
        ),
    ],
)
def test_a_listing_that_fails_is_an_error_with_its_mend(store, tmp_path, monkeypatch, path, message):
    monkeypatch.setattr(object_stores, "PLANNING_S", 0.2)
    with pytest.raises(RecipeError, match=message):
        source.fingerprint(section("warc", path.format(scheme=store.scheme, options=store.options)), tmp_path)


def test_keys_of_a_profile_sign_requests(monkeypatch, tmp_path):
    pytest.importorskip("boto3")
    credentials = tmp_path / "credentials"
    credentials.write_text("[team]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = s3cr3t-of-a-test\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_PROFILE", "team")
    provider = objects.Objects("s3://bucket?region=us-east-1")._client.credential_provider
    assert provider()["access_key_id"] == "AKIAEXAMPLE"
