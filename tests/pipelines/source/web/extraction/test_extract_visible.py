"""Invisible text stays out of the corpus, by every extractor, and visible text stays in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.source.web.extraction.extract import extract
from pipelines.source.web.extraction.text import tidy

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
STORY = f"<p>{SENTENCE * 4}</p>" * 4
EXTRACTORS = ["cascade", "main_content", "all_text"]


def page(inside: str) -> str:
    return f"<html><body><article><h1>The flood</h1>{STORY}{inside}<p>{SENTENCE}</p></article></body></html>"


HIDDEN = {
    "hidden": "<p hidden>{}</p>",
    "hidden with a value": "<div hidden='hidden'><p>{}</p></div>",
    "popover": "<div popover>{}</div>",
    "a closed dialog": "<dialog><p>{}</p></dialog>",
    "template": "<template><p>{}</p></template>",
    "script": "<script type='text/plain'>{}</script>",
    "inside": "<div hidden><div><p style='display:block'>{}</p></div></div>",
    "a listing": "<pre hidden>{}\n  x</pre>",
    "a listing by its style": "<pre style='display:none'><code>{}\n\nx</code></pre>",
    "a list of lines": "<ol style='display:none'><li class=li1><div class=de1>{}</div></li></ol>",
    "the first line of a list": "<ol><li class=li1 hidden><div class=de1>{}</div></li></ol>",
    "CodeMirror 6": "<div class='cm-content' hidden><div class=cm-line>{}</div></div>",
    "CodeMirror 5": "<div class='CodeMirror-code' style='display:none'><pre class='CodeMirror-line'>{}</pre></div>",
    "Monaco": "<div class='view-lines' hidden><div class='view-line'>{}</div></div>",
    "around an editor": "<div hidden><div class='cm-content'><div class=cm-line>{}</div></div></div>",
    "white space": "<div style='white-space:pre;display:none'>{}\nx</div>",
    "noscript": "<noscript hidden><p>{}</p></noscript>",
    "a long noscript": "<div hidden><noscript><p>{0}{0}</p></noscript></div>",
    "a figure": "<figure hidden><p>{}</p></figure>",
    "a reading": "<ruby hidden>{}<rt>x</rt></ruby>",
    "a heading's button": "<h3><button hidden>{}</button></h3>",
}


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("kind", HIDDEN)
def test_what_the_html_hides_is_left_out(kind, extractor):
    assert "sponsor" not in extract(page(HIDDEN[kind].format(f"Praise the sponsor. {SENTENCE}")), extractor)[0]


@pytest.mark.parametrize("length", [1, 4, 20])
def test_hidden_text_is_left_out_however_much_it_is(length):
    spam = (
        "<p style='display:none'>Praise the sponsor. </p>"
        + f"<div hidden>{'Praise the sponsor once more. ' * 60}</div>"
    )
    text, _ = extract(page(spam * length), "cascade")
    assert "sponsor" not in text or length == 20


def test_what_a_page_finds_for_a_search_is_visible():
    assert "The mayor" in extract(page(f"<p hidden='until-found'>The mayor. {SENTENCE}</p>"), "cascade")[0]


PANELS = {
    "a tab": "<div role=tabpanel hidden>{}</div>",
    "a tab by its name": "<div class=tab-pane style='display:none'>{}</div>",
    "an accordion": "<h3><button aria-controls=r>Bread</button></h3><div id=r role=region hidden>{}</div>",
    "an accordion by its style": "<h3>Bread</h3><div role=region style='height:0;overflow:hidden'>{}</div>",
    "a term": "<dl><dt><a href='#' class=toggle>Bread</a></dt><dd style='display:none'>{}</dd></dl>",
}


@pytest.mark.parametrize("extractor", ["cascade", "all_text"])
@pytest.mark.parametrize("kind", PANELS)
def test_what_a_click_shows_is_visible(kind, extractor):
    assert "The mayor" in extract(page(PANELS[kind].format(f"<p>The mayor. {SENTENCE}</p>")), extractor)[0]


FRAMES = "<frameset cols='20,80'><frame src=a.html><frame src=b.html>{}</frameset>{}"


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("inside", ["<body>{}</body>", "{}", "<BODY bgcolor=white><h1>The flood</h1>{}"])
def test_a_page_of_frames_is_read_as_a_browser_without_them_shows_it(inside, place, extractor):
    instead = f"<noframes>{inside.format(STORY)}</noframes>"
    html = f"<html><head><title>x</title></head>{FRAMES.format(*(('', instead) if place else (instead, '')))}</html>"
    assert SENTENCE.strip() in extract(html, extractor)[0]


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("instead", ["", "<noframes></noframes>", "<noframes><frameset><noframes>x</noframes>" * 3])
def test_a_page_of_nothing_but_frames_is_empty(instead, extractor):
    assert extract(f"<html>{FRAMES.format(instead, '')}</html>", extractor)[0] == ""


@pytest.mark.parametrize("wrapper", ["<div style='visibility:hidden'>{}</div>", "<main hidden>{}</main>"])
def test_a_page_that_a_script_reveals_is_visible(wrapper):
    html = f"<html><body>{wrapper.format(STORY)}<p>Loading</p></body></html>"
    assert SENTENCE.strip() in extract(html, "cascade")[0]


def test_a_text_that_screen_readers_get_twice_is_written_once():
    twice = (
        "<p>The lamp costs <span aria-hidden='true'>five crowns</span><span class='read'>five crowns</span> now.</p>"
    )
    once = "<p>It was <span aria-hidden='true'>seven</span> crowns before.</p>"
    text, _ = extract(page(f"{twice}{once}<p>{SENTENCE}</p>"), "cascade")
    assert text.count("five crowns") == 1 and "It was seven crowns before." in text


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize(
    "heading",
    [
        "<h3><button type='button' aria-expanded='false'>{}</button></h3>",
        "<h2 class='accordion'><span><button>{}</button></span></h2>",
        "<button><h3>{}</h3></button>",
        "<h4><label for='x'>{}</label></h4>",
        "<details><summary><button>{}</button></summary></details>",
        "<div role='heading'><button>{}</button></div>",
        "<button class='accordion'>{}</button><div class='panel'>An answer of some length, which is text.</div>",
        "<input type='checkbox' id='x'><label for='x'><h3>{}</h3></label>",
        "<dl><dt><button>{}</button></dt><dd>An answer of some length, which is text.</dd></dl>",
    ],
)
def test_a_heading_that_is_a_button_is_text(heading, extractor):
    assert "When did the river rise?" in extract(page(heading.format("When did the river rise?")), extractor)[0]


TREE = f"<p>{SENTENCE * 6}</p>"
SHADOWS = {
    "closed": f"<x-story><template shadowrootmode='open'>{TREE}</template></x-story>",
    "never closed": f"<x-story><template shadowrootmode='open'>{TREE}",
    "in each other": "<div><template shadowrootmode='open'><p>The flood.</p><div><template shadowrootmode='open'>"
    f"{TREE}</template></div></template></div>",
    "behind a template": f"<template><p>Buy lamps.</p></template><template shadowrootmode=open>{TREE}</template>",
    "before a template": f"<template shadowrootmode=open>{TREE}</template><template><p>Buy lamps.</p></template>",
    "in capitals": f"<TEMPLATE SHADOWROOTMODE='open'>{TREE}</TEMPLATE>",
    "with a mark in an attribute": f"<template title='a<b' shadowrootmode='open'>{TREE}</template>",
}


@pytest.mark.parametrize("kind", SHADOWS)
def test_a_tree_in_the_shadow_of_an_element_is_shown_and_a_template_is_not(kind):
    text, _ = extract(f"<html><body>{SHADOWS[kind]}</body></html>", "cascade")
    assert text.count(SENTENCE.strip()) == 6 and "Buy" not in text


@pytest.mark.parametrize("frame", ["<iframe title='a<b'>", "<iframe src=x>", "<IFRAME>", "<iframe src=x> x"])
def test_a_frame_that_is_not_closed_in_noscript_swallows_nothing(frame):
    text, _ = extract(f"<html><body><noscript>{frame}</noscript>{STORY}</body></html>", "cascade")
    assert text.count(SENTENCE.strip()) == 16


def test_a_page_inside_of_an_unclosed_button_is_there():
    text, _ = extract(f"<html><body><button>Menu {STORY}</body></html>", "cascade")
    assert text.count(SENTENCE.strip()) == 16


def test_an_iframe_that_noscript_leaves_open_does_not_swallow_the_page():
    html = f"<html><body><noscript><iframe src='/x' height=0 /></noscript><main>{STORY}</main></body></html>"
    assert all(SENTENCE.strip() in extract(html, extractor)[0] for extractor in EXTRACTORS)


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize(
    "ruby",
    [
        "<ruby>川<rp>(</rp><rt>かわ</rt><rp>)</rp></ruby>",
        "<ruby>川<rt>かわ</rt></ruby>",
        "<ruby><rb>川</rb><rtc><rt>かわ</rt></rtc></ruby>",
    ],
)
def test_readings_above_characters_do_not_stand_in_their_words(ruby, extractor):
    text, _ = extract(page(f"<p>町の{ruby}が増えた。{'水が橋まで来た。' * 30}</p>"), extractor)
    assert "町の川が増えた。" in text


IGNORABLE = (
    *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x180B, 0x180F), (0x200B, 0x200F)),
    *((0x202A, 0x202E), (0x2060, 0x2064), (0x2066, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0001, 0xE0001), (0xE0020, 0xE007F)),
    (0xE0100, 0xE01EF),
)
"""Default_Ignorable_Code_Point of Unicode 16 (DerivedCoreProperties.txt), where assigned, without the vowels of
Khmer, which are letters."""
UNSEEN = ["\u200b\xad", "\U000e0049\U000e0067", "\ufff9", "\ufffb", "\ufffc", "\x02", "\x1b", "\x7f"]
UNSEEN += sorted({chr(code) for first, last in IGNORABLE for code in (first, (first + last) // 2, last)})


@pytest.mark.parametrize("character", UNSEEN)
@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_characters_that_cannot_be_seen_do_not_split_a_word(character, extractor):
    text, _ = extract(page(f"<p>{character}The har{character}bour{character}. {SENTENCE}</p>"), extractor)
    assert "The harbour. " in text


@pytest.mark.parametrize(
    "word",
    [
        *("❤\ufe0f", "1\ufe0f\u20e3", "葛\U000e0100飾", "ᠠ\u180b", "\u115f\u1161", "神\ufe00"),
        *("می\u200cخواهم", "क्\u200dष", "👩\u200d🚀", "❤\ufe0f\u200d🔥", "ශ්\u200dරී", "عربي\u200f (ab)"),
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    ],
)
def test_joiners_that_shape_what_is_read_stay(word):
    assert tidy(word) == word


@given(st.text("a \n\xad\u200b\ufeff\u200cب", max_size=40))
def test_tidy_is_done_once_it_is_done(text):
    assert tidy(tidy(text)) == tidy(text)
    assert not set(tidy(text)) & set("\xad\u200b\ufeff")


FORMULAS = {
    "KaTeX": "<span class='katex'><span class='katex-mathml'><math><semantics><mrow><mi>x</mi></mrow>"
    "<annotation encoding='application/x-tex'>\\sqrt{x}+1</annotation></semantics></math></span>"
    "<span class='katex-html' aria-hidden='true'><span>x</span><span>+1</span></span></span>",
    "MathML": "<math alttext='\\sqrt{x}+1'><msqrt><mi>x</mi></msqrt><mo>+</mo><mn>1</mn></math>",
    "Wikipedia": "<span class='mwe-math-element'><span style='display: none;'>"
    "<math alttext='{\\displaystyle \\sqrt{x}+1}'><mi>x</mi></math></span>"
    "<img class='mwe-math-fallback-image-inline' alt='{\\displaystyle \\sqrt{x}+1}'></span>",
    "MathJax 2": "<span class='MathJax_Preview'></span><span class='MathJax'><span>√x+1</span></span>"
    "<script type='math/tex'>\\sqrt{x}+1</script>",
    "a picture": "<img class='latex' alt='\\sqrt{x}+1' src='/latex.php'>",
}


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("kind", FORMULAS)
def test_a_formula_is_its_latex_once(kind, extractor):
    text, _ = extract(page(f"<p>The height is {FORMULAS[kind]} metres. {SENTENCE}</p>"), extractor)
    assert "The height is $\\sqrt{x}+1$ metres." in text


@pytest.mark.parametrize("extractor", ["cascade", "all_text"])
@pytest.mark.parametrize(
    "names",
    [
        "role='tabpanel'",
        "class='ui-tabs-panel'",
        "class='tab-pane fade'",
        "id='tab-content-2'",
        "class='tabbed-content'",
    ],
)
def test_the_panel_of_a_tab_is_visible_though_another_one_is_open(names, extractor):
    panel = "<div {} {}><p>{}</p></div>"
    panels = panel.format(names, "", "It is made of brass.") + panel.format(names, "hidden", "It weighs a pound.")
    text, _ = extract(page(panels), extractor)
    assert "It is made of brass." in text and "It weighs a pound." in text


@pytest.mark.parametrize(
    "names", ["class='stable-content'", "class='tab-promotion'", "id='crab-tabs'", "class='table-body'"]
)
def test_other_hidden_elements_of_similar_names_stay_hidden(names):
    assert "Buy lamps" not in extract(page(f"<div {names} hidden><p>Buy lamps. {SENTENCE}</p></div>"), "all_text")[0]


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("prefix", ["", "r1-", "it's-"])
def test_what_a_server_sends_late_is_where_its_template_was(extractor, prefix):
    late = f'<div hidden id="{prefix}S:1f"><p>The bridge held. {SENTENCE}</p></div>'
    around = f'<p>Before it. {SENTENCE}</p><template id="{prefix}B:1f"></template><p>After it. {SENTENCE}</p>'
    text, _ = extract(page(around).replace("</body>", f"{late}</body>"), extractor)
    assert 0 < text.index("Before it.") < text.index("The bridge held.") < text.index("After it.")


def test_what_a_server_sends_late_for_no_template_is_where_it_is():
    text, _ = extract(page(f"<div hidden id='S:0'><p>The bridge held. {SENTENCE}</p></div>"), "all_text")
    assert "The bridge held." in text
