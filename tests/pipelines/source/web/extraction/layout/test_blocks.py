"""Blocks that belong to a page's text though they look like its surroundings, and overlays that do not."""

import pytest

from pipelines.source.web.extraction.extract import extract, extract_page

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
STORY = f"<p>{SENTENCE * 4}</p>" * 4
EXTRACTORS = ["cascade", "main_content", "all_text"]
MENU = "<a href='/a'>the harbour</a>, <a href='/b'>the tower</a> and <a href='/c'>the bridge</a>"


def page(inside: str, outside: str = "") -> str:
    return f"<html><body>{outside}<main><article><h1>The flood</h1>{STORY}{inside}</article></main></body></html>"


def cells(role: str, tag: str) -> str:
    rows = (("Adult", "two pence"), ("Child", "one penny"))
    row = "".join(
        f"<div role=row>{''.join(f'<{tag} role={role}>{cell}</{tag}>' for cell in each)}</div>" for each in rows
    )
    return f"<div role=table>{row}</div>"


LAST_TABLES = {
    "a table by its role": cells("cell", "div"),
    "a grid": cells("gridcell", "div").replace("role=table", "role=grid"),
    "one column below its head": "<table><tr><th>Fares</th></tr><tr><td>Child one penny</td></tr></table>",
    "rows with heads": "<table><tr><th>Child</th><td>one penny</td></tr></table>",
}


@pytest.mark.parametrize("kind", LAST_TABLES)
def test_a_table_is_no_tail_of_a_page(kind):
    assert extract(page(LAST_TABLES[kind]), "cascade")[0].endswith("one penny")


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("role", ["cell", "gridcell", "columnheader", "rowheader"])
@pytest.mark.parametrize("tag", ["span", "em", "b"])
def test_cells_by_their_role_are_apart(tag, role, extractor):
    text, _ = extract(page(f"{cells(role, tag)}<p>{SENTENCE}</p>"), extractor)
    assert "Adulttwo" not in text and "Adult two pence" in " ".join(text.split())


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("display", ["block", "flex", "grid", "list-item", "BLOCK !important"])
@pytest.mark.parametrize("around", ["p", "div", "h2", "li", "td", "figcaption"])
def test_phrases_that_are_blocks_by_their_style_are_apart(around, display, extractor):
    parts = f"<span style='display:{display}'>Photo by Ann</span><b style='display: {display};'>Of the bridge</b>Now"
    text, _ = extract(page(f"<{around}>{parts} it is high. {SENTENCE}</{around}><p>{SENTENCE}</p>"), extractor)
    assert "AnnOf" not in text and "bridgeNow" not in text


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("display", ["inline", "inline-block", "contents"])
def test_phrases_that_continue_their_line_are_not(display, extractor):
    word = "".join(f"<span style='display:{display}'>{letter}</span>" for letter in "Tower")
    assert "The Tower stands." in extract(page(f"<p>The {word} stands. {SENTENCE}</p>"), extractor)[0]


def test_lines_of_code_that_are_blocks_by_their_style_stay_lines():
    code = "<pre><code><span style='display:block'>a = 1</span><span style='display:block'>b = 2</span></code></pre>"
    assert "a = 1\nb = 2" in extract(page(f"{code}<p>{SENTENCE}</p>"), "cascade")[0]


@pytest.mark.parametrize("name", ["portable-infobox pi-theme", "infobox", "infobox_v3"])
def test_the_facts_of_a_wiki_beside_its_text_stay(name):
    facts = f"<aside role=region class='{name}'><h2>Bridge</h2><h3>Length</h3><div>32 metres</div></aside>"
    assert "32 metres" in extract(page(f"{facts}<p>{SENTENCE}</p>"), "cascade")[0]


SENTENCES = {
    "a reference": f"See also {MENU}.",
    "a long link": f"There are <a href='/a'>{'four ways over the river ' * 3}</a> in the town.",
    "brackets": f"(For the lamps, see {MENU}.)",
    "a question": f"Why do the people go to {MENU}?",
    "Japanese": "この町の橋については<a href='/a'>川の橋の長い歴史の解説の記事の一覧</a>も参照してください。",
}
LISTS = {
    "a menu": MENU,
    "tags": f"Tags: {MENU}.",
    "a title of a list": f"More on this page: {MENU}",
    "steps": "<a href='/a'>Back to the harbour</a> › <a href='/b'>Bridges of the town</a>",
}


@pytest.mark.parametrize("text_format", ["text", "markdown"])
@pytest.mark.parametrize("kind", SENTENCES)
def test_a_sentence_of_links_stays(kind, text_format):
    html = page(f"<p>{SENTENCES[kind]}</p><p>{SENTENCE}</p>")
    start = SENTENCES[kind].split("<")[0].strip()
    assert start in extract_page(html, "cascade", text_format).text


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("tag", ["p", "div"])
def test_a_list_of_links_goes(tag, kind):
    text, _ = extract(page(f"<{tag}>{LISTS[kind]}</{tag}><p>{SENTENCE}</p>"), "cascade")
    assert "harbour" not in text


def test_the_links_that_edit_a_section_go():
    edit = "<span class='mw-editsection'>[<a href='/edit'>edit</a>]</span>"
    heading = f"<div class='mw-heading mw-heading2'><h2 id='Lamps'>Lamps</h2>{edit}</div>"
    text, _ = extract(page(f"{heading}<p>{SENTENCE}</p>"), "cascade")
    assert "Lamps" in text.split("\n") and "edit" not in text


OVERLAY = "We use cookies to measure our traffic and to show advertising. You agree to them if you read on. "


@pytest.mark.parametrize("style", ["position:fixed;bottom:0", "bottom:0; POSITION : Fixed !important"])
@pytest.mark.parametrize("place", [0, 1])
def test_what_lies_over_a_page_is_no_part_of_it(style, place):
    overlay = f"<div style='{style}'><p>{OVERLAY}</p></div>"
    text, _ = extract(page(f"{'' if place else overlay}<p>{SENTENCE}</p>", overlay if place else ""), "cascade")
    assert "traffic" not in text and SENTENCE.strip() in text


@pytest.mark.parametrize("style", ["background-attachment:fixed", "table-layout:fixed", "position:relative"])
def test_what_is_fixed_otherwise_is_a_part_of_it(style):
    text, _ = extract(
        page(f"<div style='{style}'><p>{SENTENCE}The mayor came, too.</p></div><p>{SENTENCE}</p>"), "cascade"
    )
    assert "The mayor came" in text


def test_a_page_that_is_fixed_as_a_whole_stays():
    html = (
        f"<html><body><div style='position:fixed;inset:0;overflow:auto'><article>{STORY}</article></div></body></html>"
    )
    assert SENTENCE.strip() in extract(html, "cascade")[0]
