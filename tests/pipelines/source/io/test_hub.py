"""Files of datasets of the Hub: an fsspec file system instead of it, and its own client against a small server."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from huggingface_hub import HfFileSystem

from data_recipes import RecipeError
from pipelines import source
from pipelines.source.io import hub as the_hub
from pipelines.source.stage import SourceError
from tests.pipelines.source.io.conftest import section


class Hub(DirFileSystem):
    """A folder in the form of the Hub's file system: with blob ids, under paths that carry the revision."""

    def info(self, path: str, **kwargs: object) -> dict:
        return with_blob_id(super().info(path, **kwargs))

    def find(self, path: str, *args: object, **kwargs: object) -> dict:
        return {name: with_blob_id(info) for name, info in super().find(path, *args, **kwargs).items()}


def with_blob_id(info: dict) -> dict:
    return {**info, "blob_id": f"id-{info['size']}"} if info["type"] == "file" else info


@pytest.fixture
def hub(monkeypatch, tmp_path):
    files = Hub(str(tmp_path / "hub"), LocalFileSystem(auto_mkdir=True), skip_instance_cache=True)
    monkeypatch.setattr(the_hub, "open_hub", lambda: files)
    return files


@pytest.mark.parametrize("revision", ["", "@main"])
def test_datasets_of_the_hub_are_read_by_glob_and_known_without_their_revision(hub, build, tmp_path, revision):
    root = f"datasets/org/name{revision}"
    rows = [{"text": f"Text number {n}."} for n in range(5)]
    for language in ("de", "fr"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "part.parquet")
        hub.pipe(f"{root}/{language}/part-0.parquet", (tmp_path / "part.parquet").read_bytes())
    hub.pipe(f"{root}/.cache/._more.jsonl", b"no lines")
    hub.pipe(f"{root}/more.jsonl.gz", gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    made = build(section("parquet", f"hf://{root}/*/*.parquet"))
    assert [(row["text"], row["origin"]) for row in made] == [
        (row["text"], f"datasets/org/name/{language}/part-0.parquet") for language in ("de", "fr") for row in rows
    ]
    lines = build(section("jsonl", f"hf://{root}"), "lines")
    assert [row["text"] for row in lines] == [row["text"] for row in rows]


def test_a_blob_of_the_hub_that_changed_is_refused(hub, attempt, tmp_path):
    hub.pipe("datasets/org/name/a.jsonl", b'{"text": "one two"}')
    selected = section("jsonl", "hf://datasets/org/name/*.jsonl")
    stage = source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path)
    assert stage.params["fingerprints"]["inputs"][0]["files"] == {
        "datasets/org/name/a.jsonl": {"version": "blob id-19", "size_bytes": 19}
    }
    hub.pipe("datasets/org/name/a.jsonl", b'{"text": "another"}\n\n')
    with pytest.raises(RuntimeError, match=r"a.jsonl: changed since the run was planned"):
        attempt(stage, "changed")


def test_a_hub_that_breaks_off_loses_the_file(hub, attempt, tmp_path, monkeypatch):
    hub.pipe("datasets/org/name/a.jsonl", b'{"text": "one two"}')
    selected = section("jsonl", "hf://datasets/org/name/a.jsonl")
    stage = source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("connection reset by peer")

    monkeypatch.setattr(Hub, "open", fail)
    with pytest.raises(SourceError, match=r"1 of 1 files could not be read.*: connection reset by peer"):
        attempt(stage, "broken")


def test_the_hubs_own_client_lists_fingerprints_and_fetches_a_dataset(server, build, monkeypatch, tmp_path):
    client = HfFileSystem(endpoint=server.url, token=False, skip_instance_cache=True)
    monkeypatch.setattr(the_hub, "open_hub", lambda: client)
    lines = b'{"text": "one two"}\n{"text": "three four"}\n'
    tree = [{"type": "file", "oid": "b" * 40, "size": len(lines), "path": "part-0.jsonl"}]
    server.files |= {
        "/api/datasets/org/name": json.dumps({"id": "org/name", "sha": "a" * 40, "siblings": []}).encode(),
        "/api/datasets/org/name/tree/main": json.dumps(tree).encode(),
        "/datasets/org/name/resolve/main/part-0.jsonl": lines,
    }
    selected = section("jsonl", "hf://datasets/org/name/*.jsonl")
    assert source.fingerprint(selected, tmp_path)["inputs"][0]["files"] == {
        "datasets/org/name/part-0.jsonl": {"version": f"blob {'b' * 40}", "size_bytes": len(lines)}
    }
    assert [row["text"] for row in build(selected)] == ["one two", "three four"]
    with pytest.raises(RecipeError, match=r"hf://datasets/org/private.*: cannot be listed .* credentials \(HF_TOKEN"):
        source.fingerprint(section("jsonl", "hf://datasets/org/private/*.jsonl"), tmp_path)
