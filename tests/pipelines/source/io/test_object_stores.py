"""Files of object stores: a small S3 of our own for `s3://`, and an fsspec file system in the Hub's place for `hf://`."""

import gzip
import json
import urllib.parse
from http.server import BaseHTTPRequestHandler
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from huggingface_hub import HfFileSystem
from pydantic import TypeAdapter

from data_recipes import RecipeError
from data_recipes.schema import SourceSection
from pipelines import source
from pipelines.source.io import object_stores
from pipelines.source.stage import SourceError
from tests.kit.object_store import refuses_a_changed_object_and_loses_a_deleted_one, running_object_store

LAST_MODIFIED = {"xml": "2024-12-01T00:00:00.000Z", "http": "Sun, 01 Dec 2024 00:00:00 GMT"}


class S3(BaseHTTPRequestHandler):
    """HeadObject, GetObject with ranges and ListObjectsV2 over `server.objects`: content by "bucket/key"."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        path, query = urllib.parse.unquote(address.path).strip("/"), dict(urllib.parse.parse_qsl(address.query))
        if "list-type" in query:
            self._answer(200, self._listing(path, query.get("prefix", ""), query.get("delimiter")))
        elif path in self.server.objects:
            self._answer(*self._object(self.server.objects[path]))
        else:
            self._answer(200 if path == "bucket" else 404, b"")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _object(self, content: bytes) -> tuple[int, bytes, dict[str, str]]:
        if not self.headers["Range"]:
            return 200, content, {}
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        piece = content[int(first) : int(last) + 1]
        return 206, piece, {"Content-Range": f"bytes {first}-{int(first) + len(piece) - 1}/{len(content)}"}

    def _listing(self, bucket: str, prefix: str, delimiter: str | None) -> bytes:
        keys = [
            path.removeprefix(f"{bucket}/") for path in sorted(self.server.objects) if path.startswith(f"{bucket}/")
        ]
        keys = [key for key in keys if key.startswith(prefix)]
        deep = {key for key in keys if delimiter and delimiter in key[len(prefix) :]}
        folders = sorted({prefix + key[len(prefix) :].partition("/")[0] + "/" for key in deep})
        rows = [
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[f'{bucket}/{key}'])}</Size>"
            f"<LastModified>{LAST_MODIFIED['xml']}</LastModified></Contents>"
            for key in keys
            if key not in deep
        ]
        rows += [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders]
        body = f"<KeyCount>{len(rows)}</KeyCount><IsTruncated>false</IsTruncated>{''.join(rows)}"
        return f"<?xml version='1.0'?><ListBucketResult>{body}</ListBucketResult>".encode()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        named = {"Content-Length": len(body), "Last-Modified": LAST_MODIFIED["http"], "ETag": '"e"', **(headers or {})}
        for name, value in named.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def s3(monkeypatch):
    """Objects of a running S3, and the options that lead an address there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with running_object_store(S3) as server:
        yield server


def section(kind: str, *paths: str, **fields: object) -> SourceSection:
    item = {"kind": kind, "paths": list(paths)}
    return TypeAdapter(SourceSection).validate_python({"inputs": [item], "extractor": "all_text", **fields})


@pytest.fixture
def build(attempt, tmp_path):
    def build(chosen: SourceSection, name: str = "store") -> list[dict]:
        made = attempt(source.stage("web", chosen, source.pin(chosen, tmp_path), tmp_path), name)
        paths = sorted(made.artifact.path.rglob("documents/*"))
        return [row for path in paths for row in pq.read_table(path).to_pylist()]

    return build


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("crawl/a.warc.gz", ["a"]),
        ("crawl", ["a", "b", "deep/c"]),
        ("crawl/*.warc.gz", ["a", "b"]),
        ("crawl/**/*.warc.gz", ["a", "b", "deep/c"]),
        ("*/deep/[a-c].warc.gz", ["deep/c"]),
        ("crawl/[!a].*", ["b"]),
    ],
)
def test_objects_folders_and_globs_of_s3_give_the_documents_of_the_files(s3, build, warc, path, names):
    for number, name in enumerate(("a", "b", "deep/c")):
        s3.objects[f"bucket/crawl/{name}.warc.gz"] = b"".join(warc.crawl(number + 2))
    s3.objects |= {"bucket/crawl/readme.txt": b"", "bucket/other/d.warc": b""}
    rows = build(section("warc", f"s3://bucket/{path}{s3.options}"))
    expected = {f"bucket/crawl/{name}.warc.gz": count for count, name in enumerate(("a", "b", "deep/c"), start=2)}
    origins = [row["origin"] for row in rows]
    assert {origin: origins.count(origin) for origin in origins} == {
        origin: count for origin, count in expected.items() if origin[13:-8] in names
    }


def test_an_object_that_changed_is_refused_and_one_that_is_gone_is_lost(s3, attempt, tmp_path, warc):
    chosen = section("warc", f"s3://bucket/{s3.options}")
    s3.objects |= {f"bucket/{name}.warc.gz": b"".join(warc.crawl(3)) for name in "ab"}
    refuses_a_changed_object_and_loses_a_deleted_one(chosen, s3.objects, attempt, tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://bucket/none/*.warc.gz{options}", r"paths.1 = 's3://bucket/none/\*.warc.gz.*: holds no WARC file"),
        ("s3://bucket/a.warc.gz?zone=eu", "zone is no option of s3://. Options are region, endpoint_override"),
        (
            "s3://bucket/a.warc.gz?endpoint_override=127.0.0.1:9&scheme=http",
            r"cannot be listed \(bucket/a.warc.gz: .*Correct the address, or give credentials \(AWS_ACCESS_KEY_ID",
        ),
    ],
)
def test_what_cannot_be_listed_is_an_error_with_its_mend(s3, tmp_path, path, message):
    with pytest.raises(RecipeError, match=message):
        source.pin(section("warc", path.format(options=s3.options)), tmp_path)


class Hub(DirFileSystem):
    """A folder as the Hub's file system tells of files: with blob ids, under paths that carry the revision."""

    def info(self, path: str, **kwargs: object) -> dict:
        told = super().info(path, **kwargs)
        return {**told, "blob_id": f"id-{told['size']}"} if told["type"] == "file" else told


@pytest.fixture
def hub(monkeypatch, tmp_path):
    files = Hub(str(tmp_path / "hub"), LocalFileSystem(auto_mkdir=True), skip_instance_cache=True)
    monkeypatch.setattr(object_stores, "hub", lambda: files)
    return files


@pytest.mark.parametrize("revision", ["", "@main"])
def test_datasets_of_the_hub_are_read_by_glob_and_known_without_their_revision(hub, build, tmp_path, revision):
    root = f"datasets/org/name{revision}"
    rows = [{"text": f"Text number {n}."} for n in range(5)]
    for language in ("de", "fr"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "part.parquet")
        hub.pipe(f"{root}/{language}/part-0.parquet", (tmp_path / "part.parquet").read_bytes())
    hub.pipe(f"{root}/more.jsonl.gz", gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    made = build(section("parquet", f"hf://{root}/*/*.parquet"))
    assert [(row["text"], row["origin"]) for row in made] == [
        (row["text"], f"datasets/org/name/{language}/part-0.parquet") for language in ("de", "fr") for row in rows
    ]
    lines = build(section("jsonl", f"hf://{root}"), "lines")
    assert [row["text"] for row in lines] == [row["text"] for row in rows]


def test_a_blob_of_the_hub_that_changed_is_refused(hub, attempt, tmp_path):
    hub.pipe("datasets/org/name/a.jsonl", b'{"text": "one two"}')
    chosen = section("jsonl", "hf://datasets/org/name/*.jsonl")
    stage = source.stage("web", chosen, source.pin(chosen, tmp_path), tmp_path)
    assert stage.params["pins"]["inputs"][0]["files"] == {
        "datasets/org/name/a.jsonl": {"version": "blob id-19", "size_bytes": 19}
    }
    hub.pipe("datasets/org/name/a.jsonl", b'{"text": "another"}\n\n')
    with pytest.raises(RuntimeError, match=r"a.jsonl: changed since the run was planned"):
        attempt(stage, "changed")


def test_a_hub_that_breaks_off_loses_the_file(hub, attempt, tmp_path, monkeypatch):
    hub.pipe("datasets/org/name/a.jsonl", b'{"text": "one two"}')
    chosen = section("jsonl", "hf://datasets/org/name/a.jsonl")
    stage = source.stage("web", chosen, source.pin(chosen, tmp_path), tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("connection reset by peer")

    monkeypatch.setattr(Hub, "open", fail)
    with pytest.raises(SourceError, match=r"1 of 1 files could not be read.*: connection reset by peer"):
        attempt(stage, "broken")


def test_the_hubs_own_client_lists_pins_and_fetches_a_dataset(server, build, monkeypatch, tmp_path):
    client = HfFileSystem(endpoint=server.url, token=False, skip_instance_cache=True)
    monkeypatch.setattr(object_stores, "hub", lambda: client)
    lines = b'{"text": "one two"}\n{"text": "three four"}\n'
    tree = [{"type": "file", "oid": "b" * 40, "size": len(lines), "path": "part-0.jsonl"}]
    server.files |= {
        "/api/datasets/org/name": json.dumps({"id": "org/name", "sha": "a" * 40, "siblings": []}).encode(),
        "/api/datasets/org/name/tree/main": json.dumps(tree).encode(),
        "/datasets/org/name/resolve/main/part-0.jsonl": lines,
    }
    chosen = section("jsonl", "hf://datasets/org/name/*.jsonl")
    assert source.pin(chosen, tmp_path)["inputs"][0]["files"] == {
        "datasets/org/name/part-0.jsonl": {"version": f"blob {'b' * 40}", "size_bytes": len(lines)}
    }
    assert [row["text"] for row in build(chosen)] == ["one two", "three four"]
    with pytest.raises(RecipeError, match=r"hf://datasets/org/private.*: cannot be listed .* credentials \(HF_TOKEN"):
        source.pin(section("jsonl", "hf://datasets/org/private/*.jsonl"), tmp_path)
