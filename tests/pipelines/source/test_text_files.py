"""Files become one document each: text as it is, saved pages extracted, the rest named or counted."""

import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from data_recipes.schema import SourceSection
from pipelines import source
from pipelines.source import text_files

PROSE = "The river rose in the night, and by morning the lower meadows were under water. " * 5
PAGE = f"<html><head><title>River</title></head><body><nav>Home</nav><article><p>{PROSE}</p></article></body></html>"


@pytest.fixture
def build(attempt, tmp_path):
    """Build `source` over the files of a folder; gives its documents by URL, and the attempt."""

    def build(files, name="store", **fields):
        folder = tmp_path / "notes"
        for file, body in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(body if isinstance(body, bytes) else body.encode())
        page = {"inputs": [{"kind": "text_files", "paths": ["notes"]}], "max_quarantined_fraction": 0.5, **fields}
        section = TypeAdapter(SourceSection).validate_python(page)
        made = attempt(source.stage("notes", section, source.fingerprint(section, tmp_path), tmp_path), name)
        shards = sorted(made.artifact.path.rglob("documents/*"))
        rows = [row for path in shards for row in pq.read_table(path).to_pylist()]
        return {row["url"]: row for row in rows}, made

    return build


def test_text_and_markup_are_taken_as_they_are(build):
    files = {"a.txt": PROSE, "deep/b.md": "# Title\n\n    code  \n\n" + PROSE, "c.rst": "Title\n=====\n\n" + PROSE}
    documents, _ = build(files)
    assert {url: row["text"] for url, row in documents.items()} == {
        file.rpartition("/")[2]: text for file, text in files.items()
    }


def test_a_saved_page_is_extracted_and_keeps_its_licence(build):
    link = '<a rel="license" href="https://creativecommons.org/licenses/by/4.0/">CC BY</a>'
    documents, _ = build({"page.html": PAGE.replace("</article>", f"{link}</article>")})
    (row,) = documents.values()
    assert PROSE.strip() in row["text"]
    assert "<p>" not in row["text"] and "Home" not in row["text"]
    assert row["licence"] == "CC-BY-4.0"


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_files_are_decoded_by_their_bytes(build, charset):
    text = "Über den Fluß führt eine Brücke, die größer ist als früher. " * 20
    documents, _ = build({"a.txt": text.encode(charset)})
    assert documents["a.txt"]["text"] == text


def test_text_that_shows_a_declaration_makes_none_and_a_saved_page_does(build):
    text = '<meta charset="gbk">\n\nis the old way of the caf\u00e9.'
    polish = "Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144, i ju\u017c \u015bwita nad rzek\u0105"
    page = f"<?xml version='1.0' encoding='iso-8859-2'?><html><body><p>{polish}</p></body></html>"
    documents, _ = build({"a.md": text, "b.txt": text, "c.xhtml": page.encode("iso-8859-2")})
    assert {url: row["text"] for url, row in documents.items()} == {"a.md": text, "b.txt": text, "c.xhtml": polish}


def test_what_holds_no_text_is_counted_and_what_is_no_text_is_named(build, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_FILE_BYTES", 10_000)
    files = {"a.txt": PROSE, "b.txt": " \n", "c.txt": bytes(range(256)) * 8, "d.txt": "x" * 10_001, "e.pdf": b"%PDF"}
    documents, made = build(files, max_quarantined_fraction=0.9)
    assert list(documents) == ["a.txt"]
    manifest = made.artifact.manifest
    assert manifest.metrics["data/skipped_no_text"] == 1
    reasons = {entry["origin"]: entry["reason"] for entry in manifest.quarantined}
    assert "undecodable text" in reasons["c.txt"]
    assert reasons["d.txt"] == "file of 10001 bytes, more than the 10000 that are read"


def test_a_file_more_leaves_the_shards_of_the_others_alone(build, monkeypatch):
    monkeypatch.setattr(text_files, "FILES_PER_SHARD", 4)
    files = {f"{n}.txt": f"{PROSE} {n}" for n in range(40)}
    _, first = build(files)
    _, second = build({"new.txt": PROSE})
    shards, more = first.artifact.manifest.shards, second.artifact.manifest.shards
    assert len(shards) >= 8
    assert len(shards.keys() - more.keys()) <= 1
    assert len(more) <= len(shards) + 1
