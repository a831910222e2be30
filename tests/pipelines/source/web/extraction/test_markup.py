"""The tags and texts of a page's markup are those of the parser's elements one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resiliparse.parse.html import ElementNode

from pipelines.source.web.extraction.code import CODE, code_in
from pipelines.source.web.extraction.dom import inked, remove_all
from pipelines.source.web.extraction.extract import extract
from pipelines.source.web.extraction.layout.boilerplate import NO_TEXT
from pipelines.source.web.extraction.markup import VOID, Markup, names_in
from tests.pipelines.source.web.extraction.test_extract_selectors import PAGES, body_of

COMMENTS = ("<!-- <p class=a> -->", "<!-- span>gone</span -->")
TEXTS = ("", " \n\t", "a &amp;lt; b", "&nbsp;x\u3000", "é\U0001f600", *COMMENTS, "<br>", "1 < 2 > 1")


def elements_of(page: Markup) -> list[int]:
    return [index for index, tag in enumerate(page.tags) if tag and tag[0] != "/"]


def printed(body: ElementNode) -> list[ElementNode]:
    """The elements of a body without those whose content is no markup."""
    remove_all(body, f"{NO_TEXT},xmp,noframes,noembed,plaintext,template")
    return [body, *body.query_selector_all("*").values()]


@given(html=PAGES, texts=st.lists(st.sampled_from(TEXTS), max_size=9))
def test_elements_are_those_of_the_parser(html, texts):
    body = body_of("<p>".join((html, *texts)))
    elements, page = printed(body), Markup(body.html)
    indices = elements_of(page)
    assert [page.tags[index] for index in indices] == [each.tag for each in elements]
    assert [page.text(index) for index in indices] == [each.text for each in elements]
    names = [names_in(page.attributes[index]) for index in indices]
    assert names == [(each.class_name or "", each.id or "") for each in elements]
    assert sum(page.characters) == inked(body.text or "")


@given(html=PAGES)
def test_relatives_are_those_of_the_parser(html):
    body = body_of(html)
    elements, page = printed(body), Markup(body.html)
    at = dict(zip(elements_of(page), elements, strict=True))
    children = [page.first_child(index) for index in at]
    assert [child and at[child] for child in children] == [each.first_element_child for each in elements]
    assert [at[page.parents[index]] for index in [*at][1:]] == [each.parent_element for each in elements[1:]]


@given(html=PAGES, number=st.integers(1, 99))
def test_what_is_left_without_an_element_is_what_the_parser_leaves(html, number):
    body = body_of(html)
    elements, page = printed(body), Markup(body.html)
    number %= len(elements)
    if number:
        page.remove(elements_of(page)[number])
        elements[number].remove()
    left = Markup(body.html)
    assert list(filter(None, page.tags)) == list(filter(None, left.tags))
    assert "".join(page.texts) == "".join(left.texts)
    assert sum(page.characters) == sum(left.characters)


@given(html=PAGES, number=st.integers(0, 99))
def test_elements_of_some_tags_are_those_that_are_left(html, number):
    body = body_of(html)
    elements, page = printed(body), Markup(body.html)
    places = elements_of(page)
    if number := number % len(elements):
        page.remove(places[number])
    left = {index: each.tag for index, each in zip(places, elements, strict=True) if page.tags[index]}
    for names in (["p"], ["h1", "div", "a"], sorted(set(left.values()) - VOID)):
        assert page.elements(names) == [index for index, tag in left.items() if tag in names]


@given(html=PAGES)
def test_code_is_found_by_its_tags_and_names(html):
    body = body_of(f"<!doctype html><body class=highlight><div class='blob-code x'><kbd>q</kbd></div>{html}")
    elements, page = printed(body), Markup(body.html)
    at = dict(zip(elements_of(page), elements, strict=True))
    assert [at[index] for index in code_in(page)] == list(body.query_selector_all(CODE).values())


@pytest.mark.parametrize("text", ["<p class=a>", "</div>", "<b>"])
def test_text_that_looks_like_tags_ends_with_its_element(text):
    page = Markup(body_of(f"<body><div><xmp>{text}</xmp></div><ul><li>b</li></ul>").html)
    assert page.text(page.tags.index("ul")) == "b"


@pytest.mark.parametrize("comment", COMMENTS)
@pytest.mark.parametrize("extractor", ["all_text", "cascade"])
def test_comments_hide_only_themselves(comment, extractor):
    page = f"<body><main><p>The river rose.</p>{comment}<p>It fell again.</p><!-- end --></main>"
    assert extract(page, extractor)[0].split("\n\n") == ["The river rose.", "It fell again."]
