"""The stage `source` as a whole: documents, counts, quarantine, and the same bytes for any order of the work."""

import gzip
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from data_recipes.schema import SourceSection
from infra.store import MANIFEST, file_digest
from pipelines import read_documents, source
from pipelines.artifacts.questions import has_questions, read_questions
from pipelines.source.from_recipe import plan
from pipelines.source.python import pydoc_pages
from pipelines.source.shards import Shard, read_shard
from pipelines.source.stage import SourceError
from pipelines.source.web.warc.responses import read_responses


def section(*inputs: dict, **fields: object) -> SourceSection:
    return TypeAdapter(SourceSection).validate_python({"inputs": list(inputs), **fields})


@pytest.fixture
def crawl(tmp_path, warc):
    """Write a crawl folder from bytes by file name; gives its section."""

    def crawl(files: dict[str, bytes], **fields: object) -> SourceSection:
        (tmp_path / "crawl").mkdir(exist_ok=True)
        for name, data in files.items():
            (tmp_path / "crawl" / name).write_bytes(data)
        return section({"kind": "warc", "paths": ["crawl"]}, extractor="all_text", **fields)

    return crawl


@pytest.fixture
def build(attempt, tmp_path):
    """Run the stage for a section and give the attempt."""

    def build(selected: SourceSection, name: str = "build"):
        return attempt(source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path), name)

    return build


def digests(out: Path) -> dict[str, str]:
    files = (file for file in sorted(out.rglob("*")) if file.is_file() and file.name != MANIFEST)
    return {str(file.relative_to(out)): file_digest(file) for file in files}


def documents(attempt) -> list[dict]:
    return [
        row for path in sorted(attempt.artifact.path.rglob("documents/*")) for row in pq.read_table(path).to_pylist()
    ]


def mixed_crawl(warc) -> bytes:
    """Five pages, a picture, a missing page, a page without content type, a binary page, a torn record, a huge page."""
    other = [
        warc.record(warc.http(b"GIF89a", "image/gif"), "http://example.org/gif"),
        warc.record(warc.http(warc.html(70)).replace(b"200 OK", b"404 Not Found"), "http://example.org/404"),
        warc.record(warc.http(warc.html(71), None), "http://example.org/untyped"),
        warc.record(warc.http(bytes(range(256)) * 40), "http://example.org/binary"),
        warc.record(warc.http(b"a" * (16 * 2**20 + 1)), "http://example.org/huge"),
    ]
    torn = gzip.compress(warc.record(warc.http(warc.html(72))))[:-30]
    return b"".join([*warc.crawl(5), *map(gzip.compress, other), torn])


def test_everything_in_a_crawl_is_kept_passed_over_or_quarantined(crawl, build, warc):
    made = build(crawl({"one.warc.gz": mixed_crawl(warc)}, max_quarantined_fraction=0.4))
    assert sorted(row["url"] for row in documents(made)) == sorted(
        [*(f"http://example.org/{n}" for n in range(5)), "http://example.org/untyped"]
    )
    assert made.metrics["data/documents"] == 6
    assert (made.metrics["data/skipped_not_html"], made.metrics["data/skipped_http_status"]) == (1, 1)
    assert made.metrics["data/quarantined"] == len(made.quarantined) == 3
    reasons = {entry["reason"].partition(" ")[0]: entry["origin"] for entry in made.quarantined}
    assert set(reasons) == {"undecodable", "record", "gzip"}
    assert all(origin.startswith("one.warc.gz:") for origin in reasons.values())
    assert made.metrics["data/bytes"] == sum(len(row["text"].encode()) for row in documents(made))


def test_too_much_that_cannot_be_read_fails_with_the_first_reason(crawl, build, warc):
    files = {"good.warc.gz": b"".join(warc.crawl(3)), "torn.warc.gz": warc.crawl(1)[1][:-20]}
    with pytest.raises(
        SourceError,
        match=r"corpus web: 1 of 4 records could not be read \(25.0%\), more than .* torn.warc.gz:0: gzip member",
    ):
        build(crawl(files))


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_a_file_without_any_record_is_a_lost_file_however_large_the_others_are(crawl, build, warc, packed):
    page = packed(b"<html><body>403 Forbidden</body></html>")
    files = {"good.warc.gz": b"".join(warc.crawl(300)), "page.warc.gz": page}
    with pytest.raises(SourceError, match=r"1 of 2 files could not be read, .* page.warc.gz:0: no WARC record"):
        build(crawl(files))


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 12345\n"
ANNEX_POINTER = b"/annex/objects/SHA256E-s12345--4d7a.jsonl\n"


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "text_files", "warc", "chat"])
@pytest.mark.parametrize(("pointer", "remedy"), [(LFS_POINTER, "git lfs pull"), (ANNEX_POINTER, "git annex get")])
def test_a_pointer_in_the_place_of_a_file_is_a_lost_file_with_its_remedy(build, tmp_path, kind, pointer, remedy):
    name = {"text_files": "b.txt", "warc": "b.warc.gz", "chat": "b.jsonl"}.get(kind, f"b.{kind}")
    (tmp_path / name).write_bytes(pointer)
    (tmp_path / "good.txt").write_text("The river rose in the night.")
    inputs = [{"kind": kind, "paths": [name]}, {"kind": "text_files", "paths": ["good.txt"]}]
    with pytest.raises(SourceError, match=rf"1 of 2 files could not be read, .*{name}: a pointer of .*{remedy}"):
        build(section(*inputs, max_quarantined_fraction=0.4))
    with pytest.warns(UserWarning, match=remedy):
        assert list(read_documents(tmp_path / name)) == []


@pytest.mark.parametrize("text", ["See version https://git-lfs.github.com/spec/v1", "/annex/objects/ and its files."])
def test_a_text_about_pointers_is_none(build, tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    made = build(section({"kind": "text_files", "paths": ["a.txt"]}))
    assert [row["text"] for row in documents(made)] == [text]


def test_a_crawl_without_a_page_fails_and_says_what_was_there(crawl, build, warc):
    picture = gzip.compress(warc.record(warc.http(b"GIF89a", "image/gif")))
    with pytest.raises(SourceError, match=r"the inputs hold no document \(records passed over: 1 not_html"):
        build(crawl({"pictures.warc.gz": picture}))


def test_a_file_that_changed_after_planning_is_refused(crawl, attempt, tmp_path, warc):
    selected = crawl({"one.warc.gz": b"".join(warc.crawl(2))})
    stage = source.stage("web", selected, source.fingerprint(selected, tmp_path), tmp_path)
    crawl({"one.warc.gz": b"".join(warc.crawl(3))})
    with pytest.raises(RuntimeError, match=r"one.warc.gz: changed since the run was planned"):
        attempt(stage, "late")


def test_the_same_bytes_come_from_other_folders_and_from_shards_in_any_order(crawl, build, warc, tmp_path):
    crawls = {f"{name}.warc.gz": b"".join(warc.crawl(count)) for name, count in (("a", 3), ("b", 5), ("c", 1))}
    selected = crawl(crawls, heldout_fraction=0.4)
    first = build(selected, "first")
    (tmp_path / "crawl").rename(tmp_path / "deeper")
    (tmp_path / "crawl").mkdir()
    (tmp_path / "deeper").rename(tmp_path / "crawl" / "deeper")
    assert digests(build(selected, "second").artifact.path) == digests(first.artifact.path)
    parts = list(enumerate(each.reader for each in plan(selected, source.fingerprint(selected, tmp_path), tmp_path)))
    for number, part in reversed(parts):
        read_shard(Shard(number, part, selected.extractor, selected.heldout_fraction), tmp_path / "backwards")
    assert digests(tmp_path / "backwards") == digests(first.artifact.path)
    assert {row["split"] for row in documents(first)} == {"train", "heldout"}


def test_pydoc_pages_come_with_the_crawl_that_they_were_read_from(build, monkeypatch):
    monkeypatch.setattr(pydoc_pages, "module_shards", lambda: [["bisect", "msilib"], ["heapq"]])
    made = build(section({"kind": "pydoc"}, extractor="all_text"))
    assert made.metrics["data/skipped_not_importable"] == 1
    for row in documents(made):
        warc_file = made.artifact.path / "warc" / row["origin"]
        assert [page.url for page in read_responses(warc_file) if page.offset == row["offset"]] == [row["url"]]
    assert [row["text"].partition("\t")[0] for row in documents(made)] == ["bisect", "heapq"]


def test_generated_questions_stand_beside_the_documents(build):
    generated = {"kind": "text_to_sql", "num_schemas": 20, "num_heldout_schemas": 5, "pairs_per_schema": 3, "seed": 2}
    made, again = (build(section(generated), name) for name in ("one", "two"))
    assert digests(made.artifact.path) == digests(again.artifact.path)
    assert has_questions(made.artifact.path)
    questions, databases = read_questions(made.artifact.path)
    assert len(databases) == 5 and {row["database_id"] for row in questions} == set(databases)
    heldout = [row["text"] for row in documents(made) if row["split"] == "heldout"]
    firsts = [row for row in questions if row["question_id"].endswith("-00")]
    assert all(text.startswith(row["prompt"] + row["query"]) for text, row in zip(heldout, firsts, strict=True))


def test_python_sources_count_what_they_pass_over(build, tmp_path, monkeypatch):
    home = tmp_path / "site" / "thing"
    home.mkdir(parents=True)
    (home / "good.py").write_text("value = 1\n")
    (home / "empty.py").write_text("\n")
    (home / "large.py").write_text("x = 1\n" * 100)
    (home / "bad.py").write_bytes(b"x = '\xff'\n")
    info = home.parent / "thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: thing\nVersion: 1.0\nLicense-Expression: MIT\n")
    (info / "RECORD").write_text("".join(f"thing/{file.name},,\n" for file in sorted(home.iterdir())))
    monkeypatch.syspath_prepend(home.parent)
    sources = {"kind": "python_sources", "standard_library": False, "distributions": ["thing"], "max_file_bytes": 300}
    made = build(section(sources, max_quarantined_fraction=0.5))
    assert [(row["url"], row["licence"]) for row in documents(made)] == [("pkg:pypi/thing@1.0#thing/good.py", "MIT")]
    assert (made.metrics["data/skipped_too_large"], made.metrics["data/skipped_no_text"]) == (1, 1)
    assert [entry["origin"] for entry in made.quarantined] == ["pkg:pypi/thing@1.0#thing/bad.py"]
