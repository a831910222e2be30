"""HTML to text: readable text stays, boilerplate is left out, and no page breaks it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text

from pipelines.source.web.extraction import extract as module
from pipelines.source.web.extraction.extract import MAX_CHARACTERS, MAX_NESTING, MAX_PARSED_TAGS, extract
from pipelines.source.web.extraction.text import tidy

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
STORY = f"<p>{SENTENCE * 4}</p>" * 4
EXTRACTORS = ["cascade", "main_content", "all_text"]


def page(body: str) -> str:
    return f"<html><head><title>Flood</title></head><body>{body}</body></html>"


def article(inside: str) -> str:
    return page(f"<article><h1>The flood</h1>{STORY}{inside}<p>{SENTENCE}</p></article>")


def cascade(html: str) -> list[str]:
    text, engine = extract(html, "cascade")
    assert engine == "resiliparse"
    return text.splitlines()


def test_code_keeps_its_indentation():
    lines = cascade(article("<pre><code>def f(x):\n    if x:\n        return [1]\n    y = 2</code></pre>"))
    at = lines.index("def f(x):")
    assert lines[at : at + 4] == ["def f(x):", "    if x:", "        return [1]", "    y = 2"]


def test_code_at_the_end_of_a_page_is_whole():
    text, _ = extract(page(f"<article>{STORY}<pre>import os\n\nname = os.name\nx</pre></article>"), "cascade")
    assert text.endswith("import os\n\nname = os.name\nx")


@pytest.mark.parametrize("around", ["{}", "<figure class='wp-block-table'>{}</figure>"])
def test_a_row_of_a_table_is_a_line_and_its_cells_are_apart(around):
    table = "<table><tr><th>City</th><th>Level</th></tr><tr><td>Bonn</td><td>4.2 m</td></tr></table>"
    rows = [line.split("\t") for line in cascade(article(around.format(table))) if "\t" in line]
    assert [[cell.strip() for cell in row if cell] for row in rows] == [["City", "Level"], ["Bonn", "4.2 m"]]


def test_lists_have_bullets_numbers_and_levels():
    lines = cascade(article("<ul><li>lamps<ul><li>oil</li></ul></li></ul><ol><li>first</li><li>second</li></ol>"))
    assert [line.strip() for line in lines if line.startswith(" ")] == ["• lamps", "• oil", "1. first", "2. second"]
    outer, inner = (next(line for line in lines if word in line) for word in ("lamps", "oil"))
    assert len(inner) - len(inner.lstrip()) > len(outer) - len(outer.lstrip())


def test_headings_are_lines_of_their_own():
    lines = cascade(article("<h2>The day after</h2>"))
    assert "The flood" in lines and "The day after" in lines


def test_a_link_in_a_sentence_keeps_its_text():
    inside = f"<p>It was, <a href='/x'>as the mayor</a> said on Monday, the highest water in years. {SENTENCE}</p>"
    assert any("It was, as the mayor said on Monday, the highest" in line for line in cascade(article(inside)))


@pytest.mark.parametrize(
    "boilerplate",
    [
        "<nav><ul><li><a href='/a'>UNWANTED</a></li></ul></nav>",
        "<header role='navigation'><a href='/a'>UNWANTED</a></header>",
        "<aside><p>UNWANTED</p></aside>",
        "<footer><p>UNWANTED</p></footer>",
        "<div class='share-buttons'><span>UNWANTED</span></div>",
        "<div id='cookie-notice'><p>UNWANTED. We use cookies.</p></div>",
        "<section class='relatedArticles'><h3>UNWANTED</h3></section>",
        "<div class='post-teaser'><p>UNWANTED</p></div>",
        "<ul><li><a href='/a'>UNWANTED news</a></li><li><a href='/b'>More of it</a></li></ul>",
        "<form><label>UNWANTED</label><input></form>",
        "<script>var UNWANTED = 1</script>",
        "<style>.UNWANTED {}</style>",
        "<p class='breadcrumb'><a href='/'>UNWANTED</a> &gt; Town</p>",
    ],
)
@pytest.mark.parametrize("place", ["before", "inside", "after"])
def test_what_is_no_prose_is_gone(boilerplate, place):
    html = {
        "before": page(boilerplate + f"<div>{STORY}</div>"),
        "inside": article(boilerplate),
        "after": page(f"<div>{STORY}</div>" + boilerplate),
    }[place]
    text = "\n".join(cascade(html))
    assert text.count(SENTENCE.strip()) >= 4 * 4 and "UNWANTED" not in text


@pytest.mark.parametrize("name", ["widget", "message", "share", "article-meta"])
def test_a_name_does_not_cost_a_page_its_story(name):
    assert any(SENTENCE.strip() in line for line in cascade(page(f"<div class='{name}'>{STORY}</div>")))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("field field--name-body field--label-hidden field__item", id="Drupal: its label is hidden"),
        pytest.param("col hidden-xs", id="Bootstrap: not on a small screen"),
        pytest.param("hentry type-post status-publish tag-floods", id="WordPress: the terms of an entry"),
        pytest.param("text-formatted", id="no form"),
        pytest.param("mg-bottom-38px", id="no bottom"),
        pytest.param("post_message_949849", id="what a forum calls a post"),
    ],
)
def test_names_that_a_content_system_gives_to_content_keep_it(names):
    html = article(f"<div class='{names}'><p>It was wanted.</p></div>")
    assert any("It was wanted." in line for line in cascade(html))


FOR_SCREEN_READERS = ["sr-only", "screen-reader-text", "show-for-sr", "element-invisible", "slds-assistive-text"]


@pytest.mark.parametrize(
    "names",
    ["hidden", "is-hidden", "visually-hidden", "hentry related", "tag-list", "form", *FOR_SCREEN_READERS],
)
def test_the_same_words_still_name_what_is_no_content(names):
    html = article(f"<div class='{names}'><p>It was unwanted.</p></div>")
    assert not any("unwanted" in line for line in cascade(html))


def test_lines_below_the_last_sentence_that_are_buttons_and_titles_go():
    lines = cascade(page(f"<article>{STORY}<div>Back to the top</div><div>More</div></article>"))
    assert lines[-1].endswith("to see it.")


@pytest.mark.parametrize(
    "formula",
    [
        "<script type='math/tex; mode=display'>E = m c^2</script>",
        "<p><math alttext='E = m c^2'><mi>E</mi></math></p>",
        "<div><img class='latex' alt='$E = m c^2$' src='e.png'></div>",
    ],
)
def test_a_formula_below_the_last_sentence_stays(formula):
    lines = cascade(page(f"<article>{STORY}<p>So it follows that:</p>{formula}</article>"))
    assert "E = m c^2" in lines[-1]


SHORT_LINES = "".join(f"<li>lamp of house number {n}</li>" for n in range(60))
HIDDEN_STORY = page(
    f"<div class='entry-content'><ul>{SHORT_LINES}</ul></div><div class='x'>{STORY}</div><div class='y'>{STORY}</div>"
)


def test_trafilatura_has_a_second_look_where_pruning_left_little_of_the_prose():
    text, engine = extract(HIDDEN_STORY, "cascade")
    assert engine == "trafilatura" and SENTENCE.strip() in text


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("می\u200cخواهم کتاب\u200cها را بخوانم", id="Persian: no joining"),
        pytest.param("क्\u200dष और श्री\u200c के", id="Hindi: half letters"),
        pytest.param("the family \U0001f468\u200d\U0001f469\u200d\U0001f467", id="an emoji of three"),
        pytest.param("שלום (abc)\u200f רב", id="Hebrew: a mark of direction"),
        pytest.param("𒀀 می\u200cخواهم", id="beside a sign that stands for another"),
    ],
)
def test_trafilatura_keeps_the_marks_that_shape_words(words):
    text, engine = extract(HIDDEN_STORY.replace(SENTENCE, f"{words} {SENTENCE}"), "cascade")
    assert engine == "trafilatura" and f"{words} {SENTENCE}".strip() in text


@pytest.mark.parametrize("error", [RecursionError("too deep"), ValueError("no XML")])
def test_the_engine_tells_where_trafilatura_broke_down(error, monkeypatch):
    import trafilatura

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(trafilatura, "extract", fail)
    text, engine = extract(HIDDEN_STORY, "cascade")
    assert engine == f"resiliparse (trafilatura: {type(error).__name__})"
    assert "lamp of house number 59" in text


@pytest.mark.parametrize(
    "html",
    [
        page("<p>A line.</p>"),
        page("<nav>" + "<a href='/x'>Menu entry</a>" * 200 + "</nav>"),
        page("<table>" + "<tr><td>12</td><td>3.5</td></tr>" * 300 + "</table>"),
        page("<script>" + "var a = 'a long line of code that is no prose at all';" * 100 + "</script>"),
    ],
    ids=["short", "menu", "numbers", "script"],
)
def test_pages_without_prose_never_cost_trafilatura_s_time(html, monkeypatch):
    monkeypatch.setattr(module, "_trafilatura", lambda *_: pytest.fail("called"))
    assert extract(html, "cascade")[1] == "resiliparse"


def test_all_text_is_every_visible_text_as_resiliparse_gives_it():
    html = article("<ul><li>one</li></ul><pre>a:\n    b</pre><nav>Menu</nav><div class='comments'>Nice</div>")
    text, engine = extract(html, "all_text")
    theirs = extract_plain_text(html, preserve_formatting=True, alt_texts=False)
    assert [line for line in text.splitlines() if line] == [line for line in theirs.splitlines() if line.strip()]
    assert engine == "resiliparse"


def test_main_content_is_resiliparse_s():
    html = article("<nav>Menu</nav><div class='comments'>Nice</div>")
    options = {"main_content": True, "alt_texts": False, "comments": False, "post_meta": False}
    assert extract(html, "main_content") == (
        tidy(extract_plain_text(html, preserve_formatting=True, **options)),
        "resiliparse",
    )


HOSTILE = {
    "deep": "<div>" * (20 * MAX_NESTING) + "deep " * 100,
    "deeper": "<div class='share'>" * 10_000 + SENTENCE * 20,
    "deep and closed": "<div>" * 10_000 + SENTENCE * 20 + "</div>" * 10_000,
    "inline": "<b><i><span class='meta'>" * 10_000 + SENTENCE * 20,
    "links": "<a href='x'><div>" * 10_000 + SENTENCE * 20,
    "tables": "<table><tr><td>" * 10_000 + SENTENCE * 20,
    "lists": "<ul><li>" * 10_000 + SENTENCE * 20,
    "comments": "<!--" * 10_000,
    "quotes": '<a href="' * 10_000,
    "entities": "&#xD800;&#0;&#x110000; text \x00 more",
    "surrogates": f"<p>{SENTENCE}\ud800 half \udfff</p>",
    "nulls": "\x00" * 1000 + f"<p>\x00{SENTENCE}\x00</p>" + "<\x00p>" * 100,
    "marks": "\ufeff" * 50,
    "attribute": f"<p class='{'share ' * 200_000}' title='{'x' * 1_000_000}'>{SENTENCE}</p>",
    "unclosed script": "<script>" + "if (a < b) { " * 50_000,
    "angles": "<" * 100_000,
    "no body": "<frameset><frame src='x'></frameset>",
    "nothing": "",
}


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("html", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pages_give_text_that_can_be_stored(html, extractor):
    text, engine = extract(html, extractor)
    text.encode()
    assert engine in ("resiliparse", "trafilatura", "none")


def test_the_story_below_hostile_nesting_is_still_found():
    for name in ("deeper", "deep and closed", "inline", "tables", "lists"):
        assert SENTENCE.strip() in extract(HOSTILE[name], "cascade")[0], name


def test_a_page_beyond_parsing_has_its_tags_cut_out():
    html = "<script>if (a < b) {}</script>" + "<p>" * MAX_PARSED_TAGS + "Caf&eacute; <b>open</b>"
    assert extract(html, "all_text") == ("Café\nopen", "none")


def test_a_page_beyond_parsing_loses_its_surrogates():
    assert extract("<p>" * (MAX_PARSED_TAGS + 1) + "half \ud800", "cascade") == ("half ?", "none")


@pytest.mark.parametrize("num_inside", [0, 1, 2, 7])
def test_what_follows_a_block_that_goes_is_judged_by_itself(num_inside):
    inside = "<span class='label'>inside <a href='/x'>link</a></span>" * num_inside
    block = f"<div class='share'>share {inside}</div>"
    remaining = "<p class='story'>The water fell again by noon.</p>"
    text, _ = extract(article(f"{block}<div class='tags'>tags</div>{remaining}{block}{remaining}"), "cascade")
    assert text.count("The water fell again by noon.") == 2
    assert not {"share", "inside", "tags"} & set(text.split())


def test_what_stands_beyond_the_cap_is_not_looked_at():
    text, _ = extract(f"<p>{SENTENCE}</p><!--{'x' * MAX_CHARACTERS}--><p>beyond</p>", "all_text")
    assert text == SENTENCE.strip()


MARKUP = ["<p>", "</p>", "<div class='meta'>", "</div>", "<!--", "-->", "<pre>\n", "<table>", "<tr>", "<td>"]
MARKUP += ["</table>", "<ul><li>", "<a href=x>", "</a>", "<article>", "</article>", "<figure>", "<script>", "</script>"]
MARKUP += [
    "<nav>",
    "<svg>",
    "<template>",
    "<body>",
    "<frameset>",
    "<form>",
    "<select>",
    "<noscript>",
    "<main id=m>",
]
MARKUP += ["&nbsp;", "&#", "\x00", "\ud800", "<p class=", "\xa0"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([*MARKUP, SENTENCE, SENTENCE * 5]) | st.text(max_size=10), max_size=40).map("".join),
    st.sampled_from(EXTRACTORS),
)
def test_any_markup_gives_text_that_can_be_stored(html, extractor):
    text, engine = extract(html, extractor)
    text.encode()
    assert engine and text == extract(html, extractor)[0]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("block", [STORY, "<p class='share'>x</p>", "<a>", "<i></b>"], ids=len)
def test_a_page_of_100_megabytes_takes_bounded_time_and_memory(block, peak_growth):
    html = block * (100_000_000 // len(block))
    extract(html, "cascade")[0].encode()
    assert peak_growth() < 1.2 * 2**30


VOID = ["br", "hr", "img", "input", "link", "meta", "col", "wbr", "area", "base", "embed", "source", "track", "param"]


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("tag", ["title", "script", "style", "textarea", "iframe", "a", "div", "p", "svg", "noscript"])
def test_an_element_that_xml_ends_with_its_start_tag_holds_nothing(tag, extractor):
    """Chapters of books begin with `<title/>`, their pages with `<a id="page_7"/>`."""
    head, body = (f"<{tag}/>", "") if tag in ("title", "script", "style") else ("", f'<{tag} id="page_7"/>')
    html = f'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><head>{head}</head><body>{body}{STORY}'
    assert extract(f"{html}</body></html>", extractor)[0].count(SENTENCE.strip()) == 16


@pytest.mark.parametrize("tag", VOID)
def test_void_elements_of_xml_and_of_html_are_the_same(tag):
    html = f"<html><body>{STORY}<p>one <{tag} class='x'/> two</p></body></html>"
    assert extract(f'<?xml version="1.0"?>{html}', "all_text") == extract(html, "all_text")


NOTES = [
    'class="starlight-aside starlight-aside--tip"',
    'class="admonition warning"',
    'class="callout-info"',
    'role="note"',
    'role="doc-footnote" class="x"',
    'epub:type="footnote" id="n1"',
]


@pytest.mark.parametrize("attributes", NOTES)
def test_an_aside_that_is_a_note_of_its_text_stays(attributes):
    assert "The lamps burn." in "\n".join(cascade(article(f"<aside {attributes}><p>The lamps burn.</p></aside>")))


@pytest.mark.parametrize("attributes", ["", 'class="sidebar-notes-list"', 'class="related"', 'class="s-notice"'])
def test_another_aside_goes(attributes):
    assert "The lamps burn." not in "\n".join(cascade(article(f"<aside {attributes}><p>The lamps burn.</p></aside>")))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("10<sup>6</sup> lamps", "10⁶ lamps"),
        ("10<sup>-3</sup> m<sup>2</sup>", "10⁻³ m2"),
        ("in 1931<sup>4</sup> and 2<sup>10</sup>", "in 1931⁴ and 2¹⁰"),
        ("the 1<sup>st</sup> and 2<sup><a href='#n'>[2]</a></sup>", "the 1st and 2[2]"),
        ("<b>5</b><sup>2</sup>", "5²"),
        ("at 7 <sup>2</sup>", "at 7 2"),
    ],
)
@pytest.mark.parametrize("extractor", ["cascade", "all_text"])
def test_a_number_above_the_line_does_not_join_the_number_before_it(written, read, extractor):
    text, _ = extract(article(f"<p>They counted {written} in the year of the flood.</p>"), extractor)
    assert f"They counted {read} in the year of the flood." in text


def test_the_options_of_long_selects_are_not_parsed(monkeypatch):
    parsed: list[int] = []
    parse = module.visible_page
    monkeypatch.setattr(module, "visible_page", lambda html: parsed.append(html.count("<option")) or parse(html))
    for count in (100, 5000):
        options = "".join(f"<option value='{number}'>lamp {number}</option>" for number in range(count))
        text, _ = extract(article(f"<select>{options}</select>"), "cascade")
        assert text.count(SENTENCE.strip()) == 17 and "lamp 7" not in text
    assert parsed == [100, 0]
