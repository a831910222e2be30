"""Spellings of a page's URL: those that RFC 3986 calls equivalent compare alike, and others do not."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.formats.urls import host_key, host_of, page_key

PAGE = "https://b\u00fccher.example/a~b/caf\u00e9?q=\u00fc"


@pytest.mark.parametrize(
    "url",
    [
        "http://b\u00fccher.example/a~b/caf\u00e9?q=\u00fc",
        "HTTPS://B\u00dcCHER.EXAMPLE/a~b/caf\u00e9?q=\u00fc",
        "https://xn--bcher-kva.example/a~b/caf\u00e9?q=\u00fc",
        "https://XN--BCHER-KVA.example./a~b/caf\u00e9?q=\u00fc",
        "https://b%C3%BCcher.example/a~b/caf\u00e9?q=\u00fc",
        "https://b\u00fccher\u3002example/a~b/caf\u00e9?q=\u00fc",
        "https://b\u00fccher.example:443/a~b/caf\u00e9?q=\u00fc",
        "http://b\u00fccher.example:80/a~b/caf\u00e9?q=\u00fc",
        "https://b\u00fccher.example:/a~b/caf\u00e9?q=\u00fc",
        "https://user:word@b\u00fccher.example/a~b/caf\u00e9?q=\u00fc",
        "https://b\u00fccher.example/a%7Eb/caf%C3%A9?q=%C3%BC",
        "https://b\u00fccher.example/a%7eb/caf%c3%a9?q=%c3%bc#part",
        "https://b\u00fccher.example/x/../a~b/./caf\u00e9?q=\u00fc",
        "https://b\u00fccher.example/%2E%2e/a~b/z/%2e%2E/caf\u00e9/?q=\u00fc",
        "  https://b\u00fccher.example/a~b/caf\u00e9?q=\u00fc\n",
        "//b\u00fccher.example/a~b/caf\u00e9?q=\u00fc",
        "b\u00fccher.example/a~b/caf\u00e9?q=\u00fc",
        "B\u00dcCHER.example:80/a~b/caf\u00e9?q=\u00fc",
        "https:b\u00fccher.example/a~b/caf\u00e9?q=\u00fc",
        "https:/b\u00fccher.example/a~b/caf\u00e9?q=\u00fc",
        "HTTPS:\\\\b\u00fccher.example\\a~b\\caf\u00e9?q=\u00fc",
        "https:////b\u00fccher.example/a~b/caf\u00e9?q=\u00fc",
        "<https://b\u00fccher.example/a~b/caf\u00e9?q=\u00fc>",
        "\ufeffhttps://b\u00fccher.example/a~b/caf\u00e9?q=\u00fc\u200b",
        "https://b\u00fccher.example/a~b/cafe\u0301?q=u\u0308",
        "https://b\u00fccher.example/a~b/cafe%CC%81?q=u%cc%88",
    ],
)
def test_every_spelling_of_a_page_is_one(url):
    assert page_key(url) == page_key(PAGE)


@pytest.mark.parametrize(
    "url",
    [
        "https://b\u00fccher.example/A~b/caf\u00e9?q=\u00fc",
        "https://b\u00fccher.example/a~b/caf\u00e9",
        "https://b\u00fccher.example/a~b/caf\u00e9?q=u",
        "https://b\u00fccher.example/a~b%2Fcaf\u00e9?q=\u00fc",
        "https://b\u00fccher.example:8443/a~b/caf\u00e9?q=\u00fc",
        "https://www.b\u00fccher.example/a~b/caf\u00e9?q=\u00fc",
        "https://bucher.example/a~b/caf\u00e9?q=\u00fc",
        "ftp://b\u00fccher.example/a~b/caf\u00e9?q=\u00fc",
    ],
)
def test_other_pages_are_others(url):
    assert page_key(url) != page_key(PAGE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://e.example/wiki/Talk%3AMill_%28town%29", "http://e.example/wiki/Talk:Mill_(town)"),
        ("http://e.example/%40ann/it%27s%21", "http://e.example/@ann/it's!"),
        ("http://e.example/?to=http%3A%2F%2Fa.example%2F%3F", "http://e.example/?to=http://a.example/?"),
        ("http://127.0.0.1/x", "http://0x7f.1/x"),
        ("http://127.0.0.1/x", "http://2130706433/x"),
        ("http://[0:0:0:0:0:0:0:1]:80/", "http://[::1]"),
        ("http://e.example/a", "http://e.example/a?"),
        ("http://e.example/a/?", "http://e.example/a"),
    ],
)
def test_pages_with_other_marks_are_one_too(one, other):
    assert page_key(one) == page_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://e.example/a%3Bb", "http://e.example/a;b"),
        ("http://e.example/?a=1%26b=2", "http://e.example/?a=1&b=2"),
        ("http://e.example/a%3Fb", "http://e.example/a?b"),
        ("http://e.example/a%23b", "http://e.example/a#b"),
        ("http://e.example/a%25b", "http://e.example/a%b"),
        ("http://e.example/a%5Cb", "http://e.example/a\\b"),
        ("http://[::1]:8080/", "http://[::1:8080]/"),
        ("http://e.example/?b=1&a=2", "http://e.example/?a=2&b=1"),
    ],
)
def test_marks_that_separate_something_are_no_spelling(one, other):
    assert page_key(one) != page_key(other)


@given(st.text(max_size=40) | st.text(max_size=40).map("https://".__add__))
def test_any_text_has_a_key_and_the_key_is_its_own(url):
    key = page_key(url)
    assert page_key(url) == key and isinstance(host_of(url), str)


SEGMENT = st.text(st.sampled_from("ab~-_.ü日%/?#&= "), min_size=1, max_size=6).filter(
    lambda text: text.strip(".") == text
)


@given(st.lists(SEGMENT, max_size=4), st.data())
def test_escaping_more_than_is_needed_changes_nothing(segments, data):
    least = "/".join(quote(segment, safe="") for segment in segments)
    most = "/".join("".join(f"%{byte:02x}" for byte in segment.encode()) for segment in segments)
    dots = data.draw(st.sampled_from(["", "./", "x/../", "%2e/", "x/y/%2E%2e/.%2e/"]))
    assert page_key(f"http://e.example/{least}") == page_key(f"HTTP://E.EXAMPLE:80/{dots}{most}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Example.ORG.", "example.org"),
        ("[::1]", "0:0:0:0:0:0:0:1"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("_a.\u00fc.example", "_a.xn--tda.example"),
        ("\uff45xample.org", "example.org"),
    ],
)
def test_hosts_of_one_name_are_one(one, other):
    assert host_key(one) == host_key(other)


@pytest.mark.parametrize(
    "url",
    ["mailto:someone@b\u00fccher.example", "urn:isbn:0451450523", "data:text/plain,a", "", " ", "part-0.jsonl#17"],
)
def test_what_has_no_host_is_no_page(url):
    assert (page_key(url), host_of(url)) == (url, "")


@pytest.mark.parametrize("port", ["443", "80", "0443"])
def test_a_default_port_needs_no_scheme(port):
    assert page_key(f"www.nordhafen.de:{port}/a") == page_key("https://www.nordhafen.de/a")


def test_an_ampersand_of_html_is_one():
    assert page_key("http://a.de/x?y=1&amp;z=2") == page_key("http://a.de/x?y=1&z=2")
    assert page_key("http://a.de/x?y=1%26amp;z=2") != page_key("http://a.de/x?y=1&z=2")
