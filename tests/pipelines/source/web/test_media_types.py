"""The type of a page as the Fetch standard takes it from one Content-Type or several."""

import pytest

from pipelines.source.web.media_types import media_type
from pipelines.source.web.pages import NotAPage, page_document
from pipelines.source.web.warc.responses import Response

# The table of the standard ("extract a MIME type"), and servers' own mistakes.
STATED = [
    ("text/plain;charset=gbk, text/html", "text/html", ""),
    ("text/html;charset=gbk;a=b, text/html;x=y", "text/html", "gbk"),
    ("text/html;charset=gbk, x/x, text/html;x=y", "text/html", ""),
    ("text/html, cannot-parse", "text/html", ""),
    ("text/html, */*", "text/html", ""),
    ("text/html, ", "text/html", ""),
    ('text/html;" , ", x/x', "x/x", ""),
    ("text/html, text/html; charset=utf-8", "text/html", "utf-8"),
    ('text/html; charset="utf-8", text/html; charset=gbk', "text/html", "gbk"),
    ('application/json; t="a, text/html"', "application/json", ""),
    ("TEXT/HTML ; Charset=UTF-8", "text/html", "UTF-8"),
    ("", "", ""),
    ("nonsense", "", ""),
]


@pytest.mark.parametrize(("stated", "essence", "charset"), STATED)
def test_the_last_valid_type_counts_with_its_charset(stated, essence, charset):
    assert media_type(stated) == (essence, charset)


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ("text/html, text/html", "Grüße"),
        ("text/html; charset=iso-8859-1, text/html; charset=windows-1251", "Привет, мир"),
        ("application/json, text/html; charset=utf-8", "Grüße"),
        ("text/html, application/json", None),
        ("cannot-parse", "Grüße"),
    ],
)
def test_a_page_with_several_types_is_read_by_the_one_that_counts(stated, text):
    body = f"<html><body><p>{text} and more of it on this page</p></body></html>"
    stored = body.encode("cp1251" if text and text.startswith("П") else "utf-8")
    response = Response(0, 1, "http://example.org/", None, 200, {"content-type": stated}, stored)
    page = page_document(response, "a.warc", "all_text", 0.0)
    assert page == NotAPage("not_html") if text is None else page.text.startswith(text)


def test_a_page_whose_parser_fails_costs_itself(monkeypatch):
    from pipelines.source.document_sink import DocumentSink
    from pipelines.source.web import warc_files

    def broken(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(warc_files, "page_document", broken)
    reading = DocumentSink(None, "all_text", 0.0, None)
    warc_files.take_page(Response(7, 1, "http://a.example/?token=abc", None, 200, {}, b"x"), reading, "a.warc")
    assert reading.quarantined == [{"origin": "a.warc:7", "reason": "page cannot be read: RecursionError: too deep"}]
