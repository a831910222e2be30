"""PDF responses are documents if the recipe asks for them; a file that cannot be read costs itself and is counted."""

import random
import zlib
from collections.abc import Sequence
from pathlib import Path

import pypdf
import pytest

from data_recipes import load_corpus
from infra.stage import Stage
from pipelines.source import fingerprint, stage
from pipelines.source.document_sink import DocumentSink
from pipelines.source.web.pdf import ENCRYPTED, PDF_VERSION, TOO_LARGE, UNREADABLE, pdf_text, unwrap
from pipelines.source.web.warc_files import take_page
from tests.kit.documents import Collected
from tests.pipelines.source.web.test_source_pages import response

RECIPE = Path(__file__).parents[4] / "data_recipes" / "corpora" / "web.toml"
PAGES = [["The river rose in the night, and the peo-", "ple of the town went", "to see it."], ["1", "Second page."]]


def pdf(pages: Sequence[Sequence[str]], *, compress: bool = True, extra: str = "") -> bytes:
    """A PDF file with a line of text for each string, by hand (ISO 32000-1, 7.5)."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        shown = "".join(f"({line}) Tj T* " for line in lines)
        content = f"BT /F1 12 Tf 14 TL 72 720 Td {shown}ET".encode()
        content = zlib.compress(content) if compress else content
        name = b"/Filter /FlateDecode " if compress else b""
        resources = f"/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R"
        objects.append(f"<< /Type /Page /Parent 2 0 R {resources} >>".encode())
        objects.append(b"<< %s/Length %d >>\nstream\n%s\nendstream" % (name, len(content), content))
    data, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    entries = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{entries}"
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {extra}>>\nstartxref\n{len(data)}\n%%EOF\n"
    return data + (table + trailer).encode()


def taken(body: bytes, tmp_path, read_pdf: bool = True) -> tuple[list, dict]:
    written = Collected()
    sink = DocumentSink(tmp_path, "cascade", 0.0, written, read_pdf=read_pdf)
    take_page(response(body, "application/pdf"), sink, "crawl.warc.gz")
    assert not sink.quarantined
    return written.documents, {name: count for name, count in sink.counts.items() if count}


@pytest.mark.parametrize("compress", [True, False])
def test_the_text_of_a_pdf_is_a_document_if_the_recipe_asks_for_it(tmp_path, compress):
    (document,), counts = taken(pdf(PAGES, compress=compress), tmp_path)
    assert document.text == "The river rose in the night, and the people of the town went to see it.\n\nSecond page."
    assert (document.extractor, counts["documents"]) == ("pdf", 1)
    assert taken(pdf(PAGES), tmp_path, read_pdf=False) == ([], {"skipped_not_html": 1, "not_html_pdf": 1})


def test_files_that_cannot_be_read_are_counted_by_their_fault(tmp_path, monkeypatch):
    for body, fault in (
        (b"%PDF-1.4 and no more", UNREADABLE),
        (b"", UNREADABLE),
        (pdf(PAGES, extra="/Encrypt << /Filter /Standard /V 1 /R 2 /O (o) /U (u) /P -4 >> "), ENCRYPTED),
    ):
        assert pdf_text(body).fault == fault
        assert taken(body, tmp_path) == ([], {f"skipped_{fault}": 1})
    assert taken(pdf([[]]), tmp_path) == ([], {"skipped_no_text": 1})
    for limit, value in (("MAX_BYTES", 100), ("MAX_PAGES", 1), ("MAX_CHARACTERS", 20)):
        with monkeypatch.context() as patch:
            patch.setattr(f"pipelines.source.web.pdf.{limit}", value)
            assert pdf_text(pdf(PAGES)) == ("", TOO_LARGE)


def test_damaged_files_raise_nothing_and_give_text_or_a_fault():
    whole, draw = pdf(PAGES * 3), random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole[: draw.randrange(1, len(whole) + 1)])
        for _ in range(draw.randint(0, 12)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        result = pdf_text(bytes(damaged))
        assert not (result.text and result.fault)
        result.text.encode()


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("well-\nknown", "wellknown"),
        ("a list:\nOne\nTwo", "a list:\nOne\nTwo"),
        ("It ended.\nthen more", "It ended.\nthen more"),
        ("12\nChapter\n- 13 -\nIn 1999\n", "Chapter\nIn 1999\n"),
        ("fünf\nüber", "fünf über"),
    ],
)
def test_lines_are_joined_only_inside_sentences(page, text):
    assert unwrap(page) == text


def source(read_pdf: str = "true") -> Stage:
    return stage("web", load_corpus(RECIPE, [f"source.read_pdf={read_pdf}"]).source, {}, RECIPE.parent)


def test_only_a_recipe_that_reads_pdf_needs_the_package_and_has_another_key():
    stages = [source("false"), source("true")]
    assert [each.packages for each in stages] == [(), ("pypdf",)]
    assert stages[0].params["read_pdf"] is False
    assert stages[1].params["read_pdf"] == {"version": PDF_VERSION, "pypdf": pypdf.__version__}


def test_another_reader_of_pdf_files_gives_other_keys_only_to_recipes_that_read_them(monkeypatch):
    keys = [(source("false").key, source().key)]
    monkeypatch.setattr("pipelines.source.web.pdf.PDF_VERSION", PDF_VERSION + 1)
    keys.append((source("false").key, source().key))
    monkeypatch.setattr("pipelines.source.web.pdf.metadata.version", lambda name: f"{name} 99")
    keys.append((source("false").key, source().key))
    without, having = zip(*keys, strict=True)
    assert len(set(without)) == 1 and len(set(having)) == 3


def test_shards_of_another_reader_of_pdf_files_are_read_again(tmp_path, attempt, warc, monkeypatch):
    (tmp_path / "crawl.warc").write_bytes(warc.record(warc.http(pdf(PAGES), "application/pdf"), "http://a.example/"))
    changes = ('source.inputs=[{kind="warc",paths=["crawl.warc"]}]', "source.read_pdf=true")
    section = load_corpus(RECIPE, list(changes)).source

    def shards() -> set[str]:
        read = stage("web", section, fingerprint(section, tmp_path), tmp_path)
        return set(attempt(read, "store").artifact.manifest.shards)

    earlier = shards()
    monkeypatch.setattr("pipelines.source.web.pdf.PDF_VERSION", PDF_VERSION + 1)
    assert len(earlier) == len(shards() - earlier) == 1
