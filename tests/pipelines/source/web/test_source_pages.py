"""From a stored response to a document: the kinds of pages, their charsets, and their refusals."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.document_sink import DocumentSink
from pipelines.source.web.charsets import UndecodablePageError
from pipelines.source.web.extraction.extract import MAX_NESTING, extract
from pipelines.source.web.extraction.text import tidy
from pipelines.source.web.pages import NotAPage, page_document
from pipelines.source.web.warc.responses import Response
from pipelines.source.web.warc_files import take_page

MARKUP = [
    b"<p>",
    b"</div>",
    b"<div ",
    b"<!--",
    b"<pre>\n",
    b"&nbsp;",
    b'<meta charset="utf-16">',
    b"<svg",
    b"text and words ",
]


def response(body: bytes, content_type: str | None = "text/html", status: int = 200, **headers: str) -> Response:
    stated = {"content-type": content_type} if content_type else {}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(7, 99, "http://example.org/a", "2020-02-02T00:00:00Z", status, stated | named, body)


def document(page: Response) -> Document:
    result = page_document(page, "crawl.warc.gz", "all_text", 0.5)
    assert isinstance(result, Document)
    return result


def test_a_document_knows_where_it_came_from():
    result = document(response(b"<p>Hello there"))
    assert (result.text, result.url, result.origin) == ("Hello there", "http://example.org/a", "crawl.warc.gz")
    assert (result.offset, result.length, result.date) == (7, 99, "2020-02-02T00:00:00Z")
    assert result.split == draw_split("http://example.org/a", 0.5)
    assert result.opt_out is None


def test_opt_outs_and_licence_are_taken_from_headers_and_page():
    page = b"<meta name=robots content=noai><a rel=license href=//creativecommons.org/licenses/by/4.0/>CC</a> <p>Hi"
    result = document(response(page, x_robots_tag="noai", tdm_reservation="1", server="nginx"))
    assert json.loads(result.opt_out or "") == {"tdm-reservation": "1", "x-robots-tag": "noai", "meta:robots": "noai"}
    assert result.licence == "CC-BY-4.0"


def test_the_text_of_a_wet_record_is_taken_as_it_is():
    text = "Fluß  \n  <b>not markup</b> <meta name=robots content=noai>"
    result = document(replace(response(text.encode(), "text/plain"), record_type="conversion"))
    assert result.text == "Fluß\n  <b>not markup</b> <meta name=robots content=noai>"
    assert (result.extractor, result.opt_out, result.licence) == ("wet", None, None)


@pytest.mark.parametrize("declared", ["text/plain", "text/plain; charset=utf-8", "text/markdown", "text/x-rst"])
def test_a_response_of_text_is_a_document_as_it_stands(declared):
    result = document(response("# Fluß\n\n    a  <b>\n".encode(), declared, x_robots_tag="noai"))
    assert (result.text, result.extractor, result.attributes) == ("# Fluß\n\n    a  <b>", "none", None)
    assert result.licence is None and result.opt_out is not None


def test_a_meta_tag_is_one_of_a_page_alone():
    body = b'<meta charset="shift_jis">\n\nis the old way of the caf\xc3\xa9.'
    assert document(response(body, "text/markdown")).text == body.decode()
    page = '<!DOCTYPE html><meta charset="shift_jis"><p>\u706f\u53f0'
    assert document(response(page.encode("shift_jis"), "text/plain")).text == "\u706f\u53f0"


def test_a_page_that_is_declared_as_text_is_extracted():
    assert document(response(b"<!DOCTYPE html><p>Hello <b>there", "text/plain")).text == "Hello there"


@pytest.mark.parametrize("address", ["https://a.example/robots.txt", "http://a.example/ads.txt?x", "metadata://log"])
def test_text_for_programs_is_none(address):
    result = page_document(replace(response(b"User-agent: *", "text/plain"), url=address), "x", "cascade", 0)
    assert result == NotAPage("not_html") and result.kind == "text"


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("application/pdf", "pdf"),
        ("application/json", "json"),
        ("application/ld+json; charset=utf-8", "json"),
        ("application/rss+xml", "xml"),
        ("text/xml", "xml"),
        ("text/css", "script"),
        ("application/javascript", "script"),
        ("image/png", "image"),
        ("video/mp4", "sound_or_video"),
        ("text/csv", "text"),
        ("application/zip", "other"),
    ],
)
def test_what_is_passed_over_is_counted_by_its_kind(declared, kind, tmp_path):
    sink = DocumentSink(tmp_path, "cascade", 0.0, None)
    take_page(response(b"content", declared), sink, "crawl.warc.gz")
    assert sink.counts == {"skipped_not_html": 1, f"not_html_{kind}": 1}


def test_a_page_records_how_much_of_it_its_text_is_and_its_type():
    prose = "The river rose in the night, and the people of the town went to the bridge with their lamps. " * 9
    page = f"<nav>{'<a href=x>Menu entry</a>' * 30}</nav><article><p>{prose}</p></article>"
    result = page_document(response(page.encode()), "x", "cascade", 0)
    attributes = json.loads(result.attributes)
    assert attributes["kept_share"] == pytest.approx(
        len(prose.replace(" ", "")) / len((prose + "Menuentry" * 30).replace(" ", "")), abs=0.001
    )
    assert attributes["page_type"] == "article"


def test_a_document_from_a_member_of_several_records_tells_where_the_member_is():
    assert document(response(b"<p>Hi")).attributes is None
    result = document(replace(response(b"<p>Hi"), member=1234))
    assert (result.offset, json.loads(result.attributes or "")) == (7, {"member_offset": 1234})


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (response(b"<p>gone", status=404), "http_status"),
        (response(b"<p>moved", status=301), "http_status"),
        (response(b"%PDF-1.4", "application/pdf"), "not_html"),
        (response(b'{"a": 1}', None), "not_html"),
        (response(b"<html><body><script>1</script></body></html>"), "no_text"),
        (response(b""), "no_text"),
    ],
)
def test_sound_responses_without_a_page_are_passed_over(page, reason):
    assert page_document(page, "crawl.warc.gz", "all_text", 0.0) == NotAPage(reason)


def test_a_missing_content_type_is_told_from_the_body():
    assert document(response(b"\n <!DOCTYPE html><title>t</title><p>Hello", None)).text.endswith("Hello")


@given(st.lists(st.binary(max_size=40) | st.sampled_from(MARKUP), max_size=12).map(b"".join), st.booleans())
def test_any_body_is_a_document_no_page_or_refused(body, main_content):
    try:
        result = page_document(response(body), "x.warc.gz", "main_content" if main_content else "all_text", 0.0)
    except UndecodablePageError:
        return
    if isinstance(result, Document):
        assert result.text.strip() and result.doc_id
    else:
        assert result == NotAPage("no_text")


def test_lists_and_code_stay_readable():
    html = "<ul><li>one</li><li>two</li></ul><pre>def f(x):\n    if x:\n        return 1</pre>"
    text, engine = extract(html, "all_text")
    assert engine == "resiliparse"
    assert [line.strip() for line in text.splitlines()[:2]] == ["• one", "• two"]
    assert "def f(x):\n    if x:\n        return 1" in text


def test_the_cascade_leaves_navigation_out_and_keeps_a_page_of_one_line():
    story = "<p>" + "The river rose in the night, and the people went to the bridge with their lamps. " * 6 + "</p>"
    html = (
        f"<html><body><nav><a href='/x'>Subscribe now</a></nav><article><h1>Flood</h1>{story}</article></body></html>"
    )
    text, engine = extract(html, "cascade")
    assert engine == "resiliparse" and "The river rose" in text and "Subscribe" not in text
    short, engine = extract("<p>A line.</p>", "cascade")
    assert (short, engine) == ("A line.", "resiliparse")


@pytest.mark.parametrize("extractor", ["cascade", "main_content", "all_text"])
@pytest.mark.parametrize(
    "html",
    [
        "<div>" * (20 * MAX_NESTING) + "deep " * 100,
        "<table><tr><td>" * 2000 + "x",
        "<!--" * 10_000,
        '<a href="' * 10_000,
        "&#xD800;&#0;&#x110000; text \x00 more",
        "\ufeff" * 50,
    ],
    ids=["deep", "tables", "comments", "quotes", "entities", "marks"],
)
def test_hostile_pages_give_text_that_can_be_stored(html, extractor):
    text, _ = extract(html, extractor)
    text.encode()


def test_tidy_drops_blanks_that_say_nothing_and_keeps_indentation():
    assert tidy("\n\n  a\xa0 \t\n\n\n\n    b  \n") == "  a\n\n    b"
