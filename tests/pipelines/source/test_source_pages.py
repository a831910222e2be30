"""From a stored response to a document: which are pages, in which charset, and what they refuse."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.extract import MAX_NESTING, extract, tidy
from pipelines.source.pages import NotAPage, UndecodableError, decode, page_document
from pipelines.source.warc import Response

GERMAN = "<html><head>{meta}</head><body><p>Der Müller wohnt über dem Fluß, wo er schöne Brötchen bäckt.</p></body>"

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
    found = page_document(page, "crawl.warc.gz", "all_text", 0.5)
    assert isinstance(found, Document)
    return found


def test_a_document_knows_where_it_came_from():
    found = document(response(b"<p>Hello there"))
    assert (found.text, found.url, found.origin) == ("Hello there", "http://example.org/a", "crawl.warc.gz")
    assert (found.offset, found.length, found.date) == (7, 99, "2020-02-02T00:00:00Z")
    assert found.split == draw_split("http://example.org/a", 0.5)
    assert found.opt_out is None


def test_opt_out_headers_are_kept_as_json():
    found = document(response(b"<p>Hi", x_robots_tag="noai", tdm_reservation="1", server="nginx"))
    assert json.loads(found.opt_out or "") == {"tdm-reservation": "1", "x-robots-tag": "noai"}


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


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252"])
@pytest.mark.parametrize("stated", ["header", "meta", "nowhere"])
def test_the_charset_is_taken_from_header_meta_tag_or_bytes(charset, stated):
    html = GERMAN.format(meta=f'<meta charset="{charset}">' if stated == "meta" else "")
    content_type = f'text/html; charset="{charset}"' if stated == "header" else "text/html"
    assert decode(response(html.encode(charset), content_type)) == html


def test_a_wrong_charset_in_the_header_does_not_lose_the_text():
    html = GERMAN.format(meta="")
    assert "wohnt" in decode(response(html.encode("latin-1"), "text/html; charset=utf-8"))


@pytest.mark.parametrize("body", [bytes(range(256)) * 20, b"\x89PNG\r\n\x1a\n" + bytes(2000)])
def test_bytes_that_are_no_text_in_any_charset_are_refused(body):
    with pytest.raises(UndecodableError, match="undecodable text"):
        decode(response(body))


@given(st.lists(st.binary(max_size=40) | st.sampled_from(MARKUP), max_size=12).map(b"".join), st.booleans())
def test_any_body_is_a_document_no_page_or_refused(body, main_content):
    try:
        found = page_document(response(body), "x.warc.gz", "main_content" if main_content else "all_text", 0.0)
    except UndecodableError:
        return
    if isinstance(found, Document):
        assert found.text.strip() and found.doc_id
    else:
        assert found == NotAPage("no_text")


def test_lists_and_code_stay_readable():
    html = "<ul><li>one</li><li>two</li></ul><pre>def f(x):\n    if x:\n        return 1</pre>"
    text, engine = extract(html, "all_text")
    assert engine == "resiliparse"
    assert [line.strip() for line in text.splitlines()[:2]] == ["• one", "• two"]
    assert "def f(x):\n    if x:\n        return 1" in text


def test_the_cascade_leaves_navigation_out_and_falls_back_where_trafilatura_finds_nothing():
    story = "<p>" + "The river rose in the night, and the people went to the bridge with their lamps. " * 6 + "</p>"
    html = (
        f"<html><body><nav><a href='/x'>Subscribe now</a></nav><article><h1>Flood</h1>{story}</article></body></html>"
    )
    text, engine = extract(html, "cascade")
    assert engine == "trafilatura" and "The river rose" in text and "Subscribe" not in text
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
