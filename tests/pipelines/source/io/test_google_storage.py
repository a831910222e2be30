"""Files of `gs://`: pyarrow's own client against a small Google Cloud Storage on loopback."""

import json
import urllib.parse
from http.server import BaseHTTPRequestHandler

import pyarrow.parquet as pq
import pytest

from data_recipes import RecipeError
from data_recipes.schema import SourceSection
from pipelines import source
from tests.kit.object_store import refuses_a_changed_object_and_loses_a_deleted_one, running_object_store

UPDATED = "2024-12-01T00:00:00Z"


class GoogleStorage(BaseHTTPRequestHandler):
    """Objects: get (metadata and media) and Objects: list of the JSON API over `server.objects`: content by
    "bucket/name"."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query))
        bucket, _, name = address.path.removeprefix("/storage/v1/b/").partition("/o")
        path = f"{bucket}/{urllib.parse.unquote(name.removeprefix('/'))}"
        if not name:
            self._answer(200, json.dumps(self._listing(bucket, **query)).encode())
        elif path not in self.server.objects:
            self._answer(404, b'{"error": {"code": 404, "message": "No such object"}}')
        elif query.get("alt") == "media":
            self._answer(200, self.server.objects[path])
        else:
            self._answer(200, json.dumps(self._object(path)).encode())

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _listing(self, bucket: str, prefix: str = "", delimiter: str = "", **_: str) -> dict:
        names = [path.removeprefix(f"{bucket}/") for path in sorted(self.server.objects)]
        names = [name for name in names if name.startswith(prefix)]
        deep = {name for name in names if delimiter and delimiter in name[len(prefix) :]}
        folders = {prefix + name[len(prefix) :].partition("/")[0] + "/" for name in deep}
        items = [self._object(f"{bucket}/{name}") for name in names if name not in deep]
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}

    def _object(self, path: str) -> dict[str, str]:
        bucket, _, name = path.partition("/")
        size = str(len(self.server.objects[path]))
        numbers = {"size": size, "generation": "1", "metageneration": "1", "updated": UPDATED, "timeCreated": UPDATED}
        return {"kind": "storage#object", "id": path, "bucket": bucket, "name": name, **numbers}

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def storage():
    """Objects of a running store, and the options that lead an address there."""
    with running_object_store(GoogleStorage, "&anonymous=true") as server:
        yield server


def section(path: str) -> SourceSection:
    page = {"inputs": [{"kind": "warc", "paths": [path]}], "extractor": "all_text"}
    return SourceSection.model_validate(page)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("crawl/a.warc.gz", ["a"]),
        ("crawl", ["a", "b", "deep/c"]),
        ("crawl/*.warc.gz", ["a", "b"]),
        ("crawl/**/*.warc.gz", ["a", "b", "deep/c"]),
    ],
)
def test_objects_folders_and_globs_give_the_documents_of_the_files(storage, attempt, tmp_path, warc, path, names):
    for number, name in enumerate(("a", "b", "deep/c"), start=2):
        storage.objects[f"bucket/crawl/{name}.warc.gz"] = b"".join(warc.crawl(number))
    storage.objects |= {"bucket/crawl/readme.txt": b"", "bucket/other/d.warc": b""}
    chosen = section(f"gs://bucket/{path}{storage.options}")
    made = attempt(source.stage("web", chosen, source.pin(chosen, tmp_path), tmp_path), "store")
    files = sorted(made.artifact.path.rglob("documents/*"))
    origins = [row["origin"] for file in files for row in pq.read_table(file).to_pylist()]
    counts = {"a": 2, "b": 3, "deep/c": 4}
    assert {origin: origins.count(origin) for origin in origins} == {
        f"bucket/crawl/{name}.warc.gz": counts[name] for name in names
    }


def test_an_object_that_changed_is_refused_and_one_that_is_gone_is_lost(storage, attempt, tmp_path, warc):
    chosen = section(f"gs://bucket/{storage.options}")
    storage.objects["bucket/a.warc.gz"] = b"".join(warc.crawl(3))
    refuses_a_changed_object_and_loses_a_deleted_one(chosen, storage.objects, attempt, tmp_path)


def test_what_holds_no_warc_file_is_an_error_with_its_mend(storage, tmp_path):
    with pytest.raises(RecipeError, match=r"paths.1 = 'gs://bucket/none/\*.warc.gz.*: holds no WARC file"):
        source.pin(section(f"gs://bucket/none/*.warc.gz{storage.options}"), tmp_path)
