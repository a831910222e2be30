"""Files behind URLs: the documents of the same files on this machine, fingerprints, and files that are lost."""

import hashlib
import json

import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from data_recipes import RecipeError
from data_recipes.schema import SourceSection
from pipelines import source
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.locations import WebFile, read_file
from pipelines.source.stage import SourceError


def section(*paths: str, **fields: object) -> SourceSection:
    item = {"kind": "warc", "paths": list(paths)}
    return TypeAdapter(SourceSection).validate_python({"inputs": [item], "extractor": "all_text", **fields})


@pytest.fixture
def build(attempt, tmp_path, waits):
    def build(selected: SourceSection, name: str = "build"):
        return attempt(source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path), name)

    return build


@pytest.fixture
def crawl(server, warc):
    """Three WARC files on the server; gives their URLs."""
    server.files |= {f"/crawl/{name}.warc.gz": b"".join(warc.crawl(pages)) for name, pages in (("a", 3), ("b", 2))}
    server.files["/crawl/c.warc.gz"] = b"".join(warc.crawl(5)[3:])
    return [server.url + path for path in server.files]


def rows(made) -> list[dict]:
    return [row for path in sorted(made.artifact.path.rglob("documents/*")) for row in pq.read_table(path).to_pylist()]


def test_the_documents_are_those_of_the_same_files_on_this_machine(crawl, build, server, respond, tmp_path):
    server.script["/crawl/a.warc.gz"] = [
        respond.status(503, Retry_After=9),  # while it is pinned
        respond.stating(),
        respond.status(500),
        respond.truncated(100),
    ]
    from_web = build(section(*crawl), "web")
    (tmp_path / "crawl").mkdir()
    for path, content in server.files.items():
        (tmp_path / path[1:]).write_bytes(content)
    from_disk = build(section("crawl"), "disk")
    reported = ("text", "url", "offset", "length", "date", "split")
    assert [[row[name] for name in reported] for row in rows(from_web)] == [
        [row[name] for name in reported] for row in rows(from_disk)
    ]
    assert len(rows(from_web)) == 8
    assert {row["origin"] for row in rows(from_web)} == {f"crawl/{name}.warc.gz" for name in "abc"}
    assert from_web.metrics["data/files"] == from_disk.metrics["data/files"] == 3


def test_what_was_fetched_is_told_by_its_digest_and_gone_from_the_result(crawl, build, server):
    made = build(section(*crawl))
    notes = [json.loads(note.read_text()) for note in (made.artifact.path / "fetched").iterdir()]
    assert sorted(notes, key=lambda note: note["name"]) == [
        {"name": path[1:], "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in server.files.items()
    ]
    assert not [file for file in made.artifact.path.rglob("*") if file.name.endswith(".gz")]


@pytest.mark.parametrize("name", ["../../../out.warc.gz", "/out.warc.gz", "long" * 80 + ".warc.gz", "ü" * 300])
def test_a_name_that_another_machine_gave_leads_nowhere_outside_the_result(server, tmp_path, waits, name):
    server.files["/file"] = b"content"
    reading = DocumentSink(tmp_path / "a" / "b" / "shard", "all_text", 0.0, writer=None)
    reading.folder.mkdir(parents=True)
    read: list[bytes] = []
    read_file(WebFile(f"{server.url}/file", name), None, reading, lambda path: read.append(path.read_bytes()))
    (note,) = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert note.parent == reading.folder / "fetched" and json.loads(note.read_text())["name"] == name
    assert read == [b"content"]


def test_fingerprints_fix_the_content_and_not_the_host(crawl, server, tmp_path, waits):
    selected = section(crawl[0])
    fingerprints = source.fingerprint(selected, tmp_path)
    assert fingerprints["inputs"][0]["files"] == {
        "crawl/a.warc.gz": {"validator": 'etag "one"', "size_bytes": len(server.files["/crawl/a.warc.gz"])}
    }
    other_host = section(crawl[0].replace("127.0.0.1", "localhost"))
    assert (
        source.stage("web", selected, fingerprints, tmp_path).key
        == source.stage("web", other_host, fingerprints, tmp_path).key
    )
    server.tags["/crawl/a.warc.gz"] = '"two"'
    assert source.fingerprint(selected, tmp_path) != fingerprints


def test_a_file_that_changed_after_planning_is_refused(crawl, server, attempt, tmp_path, waits):
    selected = section(crawl[0])
    stage = source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path)
    server.tags["/crawl/a.warc.gz"] = '"two"'
    with pytest.raises(RuntimeError, match=r"a.warc.gz: changed since the run was planned"):
        attempt(stage, "late")


def test_a_lost_file_is_quarantined_and_counted_within_the_limit(crawl, build, server, respond):
    server.script["/crawl/b.warc.gz"] = [respond.stating(), *[respond.truncated(50)] * 4]
    made = build(section(*crawl, max_quarantined_fraction=0.4))
    assert (made.metrics["data/lost_files"], made.metrics["data/files"]) == (1, 3)
    assert len(rows(made)) == 6
    size = len(server.files["/crawl/b.warc.gz"])
    url, reason = crawl[1], f"the body ends after 200 of {size} bytes, at the last of 4 attempts"
    assert made.quarantined == [{"origin": "crawl/b.warc.gz", "reason": f"{url}: {reason}"}]


def test_too_many_lost_files_fail_the_stage_and_the_same_command_asks_only_for_those(
    crawl, attempt, tmp_path, server, respond, waits
):
    selected = section(*crawl)
    stage = source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path)
    server.script["/crawl/b.warc.gz"] = [respond.status(404)]
    with pytest.raises(SourceError, match=r"1 of 3 files could not be read.*crawl/b.warc.gz: .*: status 404"):
        attempt(stage, "store")
    server.requests.clear()
    assert len(rows(attempt(stage, "store"))) == 8
    assert {path for path, _ in server.requests} == {"/crawl/b.warc.gz"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{url}/crawl/missing.warc.gz", r"source.inputs.1.paths: {url}/crawl/missing.warc.gz: status 404. Correct"),
        ("{url}/crawl/", r"paths.1 = '{url}/crawl/': not a WARC file, .* A URL names one file"),
        ("http://127.0.0.1:9/a.warc.gz", r"no connection, at the last of 4 attempts. Correct the URL, or bring"),
        (
            "ftp://host/a.warc.gz",
            r"paths.1 = 'ftp://host/a.warc.gz': no place of a known kind. .* s3://, gs://, az://, hf://",
        ),
    ],
)
def test_a_place_that_cannot_be_reached_is_an_error_before_anything_starts(server, tmp_path, waits, path, message):
    with pytest.raises(RecipeError, match=message.format(url=server.url)):
        source.fingerprint(section(path.format(url=server.url)), tmp_path)


def test_two_urls_of_one_path_are_an_error(crawl, tmp_path, waits):
    with pytest.raises(RecipeError, match="two files have the name 'crawl/a.warc.gz'.*take one out"):
        source.fingerprint(section(crawl[0], crawl[0].replace("127.0.0.1", "localhost")), tmp_path)
