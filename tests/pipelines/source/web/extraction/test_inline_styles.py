"""Text that an inline style makes invisible stays out of the corpus, and text that it does not stays in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.source.web.extraction.css.hiding import is_hiding
from pipelines.source.web.extraction.extract import extract

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
STORY = f"<p>{SENTENCE * 4}</p>" * 4
EXTRACTORS = ["cascade", "main_content", "all_text"]


def page(inside: str) -> str:
    return f"<html><body><article><h1>The flood</h1>{STORY}{inside}<p>{SENTENCE}</p></article></body></html>"


HIDING = (
    "zoom:0",
    "filter:blur(2px) opacity(0)",
    "filter:opacity(0%)",
    "transform:rotateY(90deg)",
    "transform:rotateX(-270deg)",
    "transform:rotateY(.25turn)",
    "mask:linear-gradient(transparent,transparent)",
    "-webkit-mask-image:linear-gradient(to right, rgba(0,0,0,0) 0%, transparent)",
    "display:none",
    "DISPLAY : None !important",
    "display:none!important;display:block",
    "color:red;display:none",
    "display:block;display:none",
    "display/**/:/* x */none",
    "visibility:hidden",
    "visibility: collapse",
    "content-visibility:hidden",
    "position:absolute;left:-9999px",
    "position:fixed; top:-1000em",
    "text-indent:-9999px",
    "text-indent: -5000%",
    "margin-left:-2000px",
    "position:absolute;inset:-9999px auto auto",
    "clip:rect(0,0,0,0);position:absolute",
    "clip: rect(1px, 1px, 1px, 1px)",
    "clip:rect(0 0 0 0)",
    "clip-path:inset(50%)",
    "font-size:0",
    "font-size: 0px",
    "height:0;overflow:hidden",
    "width:1px;height:1px;overflow:hidden",
    "max-height:0px;overflow:hidden",
    "transform:scale(0)",
    "transform:translateX(-9999px)",
    "transform:scale(0, 0)",
    "transform: scale3d(0,0,1)",
    "scale:0",
    "font-size:1px",
    "position:fixed;top:-100vh",
    "position:absolute;left:9999px",
    "text-indent: 9999px; white-space: nowrap",
    "clip-path:polygon(0 0, 0 0, 0 0, 0 0)",
    "color:transparent",
    "position:absolute;opacity:0",
    "position:fixed;opacity:.0",
    "position:absolute;filter:opacity(0%)",
    "clip-path:circle(0px at 50% 50%)",
    "clip-path:ellipse(0 0)",
    "position:absolute;clip:rect(0 0 0 auto)",
    "font:0/0 a",
    "font-size:.1px",
    "font-size: 1pt",
    "font-size:0.01em",
    "color:#fff;background:#FFFFFF",
    "color:white;background-color:rgb(255, 255, 255)",
    "color:rgba(0,0,0,0)",
    "color:#0000",
    "color:#ffffff00",
    "color:rgb(0 0 0 / 0)",
    "color:hsla(0,0%,0%,0.0)",
    "-webkit-text-fill-color:transparent",
    "translate:-9999px",
    "transform:matrix(0,0,0,0,0,0)",
    "position:absolute;inset-inline-start:-9999px",
    "position:absolute;left:-4000px",
    "max-height:0;overflow-y:hidden",
    "height:0;overflow:hidden auto",
    "block-size:0;overflow:clip",
    "display:n\\6fne",
    "display:no\\ne",
    "display:none;display:bogus",
    "display:none;display:",
    "display:none;content:'; display:block'",
    'display:none;content:"; display:block"',
    "background:url(data:image/png;base64,AA=);display:none",
    "visibility:hidden;visibility:shown",
    "font-size:0;font-size:huge!;font-size:",
    "position:absolute;position:floating;opacity:0;opacity:full",
    "height:0;height:much of it;overflow:hidden;overflow:nowhere",
    "clip-path:inset(50% 50%)",
    "clip-path:inset(0 100% 0 0)",
    "clip-path:inset(0 0 100% 0)",
    "clip-path:inset(60% 0 40% 0 round 4px)",
    "clip-path:xywh(0 0 0 0)",
    "clip-path:rect(0 0 0 0)",
    "-webkit-clip-path:inset(100%)",
    "-webkit-filter:opacity(0)",
    "-webkit-transform:scale(0)",
    "text-indent:100%;white-space:nowrap;overflow:hidden",
    "text-indent:200%;white-space:nowrap;overflow:hidden",
    "color:red;background:red",
    "color:tomato;background-color:tomato",
    "color:red;background-color:#f00",
    "color:hsl(0,0%,100%);background:#fff",
    "color:hsl(120 100% 50%);background:rgb(0% 100% 0%)",
    "color:#ffff;background:white",
    "color:oklch(0 0 0 / 0)",
    "color:rgb(0% 0% 0% / 0%)",
    "transform:scale(1,0)",
    "transform:scale(.0001)",
    "transform:translate(10px) scale(0)",
    "transform:matrix(0,0,0,1,0,0)",
    "transform:matrix(1,2,2,4,0,0)",
    "transform:matrix(1,0,0,1,-9999,0)",
    "transform:rotate3d(0,1,0,90deg)",
    "rotate:y 90deg",
    "rotate:1 0 0 .25turn",
    "scale:0 1",
    "font-size:calc(0px)",
    "font-size:1e-5px",
    "font:1e-3px/1 a",
    "position:absolute;opacity:.001",
    "position:absolute;opacity:calc(0)",
    "position:absolute;opacity:0%",
    "height:0.1px;overflow:hidden",
    "height:2px;overflow:hidden",
    "height:0;padding:0 40px;overflow:hidden",
    "width:0;min-width:0;overflow:hidden",
    "height:0;flex:0 0 auto;overflow:hidden",
    "float:left;margin:0 0 0 -9999px",
    "position:absolute;margin-top:-9999px",
    "letter-spacing:-9999px",
    "position:fixed;transform:translate(-200%,-200%)",
    "transform:translate3d(-9999px,0,0)",
)
SHOWING = (
    "",
    "zoom:1",
    "zoom:normal",
    "filter:opacity(.5)",
    "filter:opacity(0);transition:filter 1s",
    "transform:rotateY(45deg)",
    "transform:rotate(90deg)",
    "mask-image:linear-gradient(#000,transparent)",
    "display:block",
    "display:none;display:block",
    "color:none",
    "visibility:visible",
    "left:-20px",
    "margin-left:-15px",
    "text-indent:-2em",
    "font-size:0.9em",
    "font-size:10px",
    "height:100px;overflow:hidden",
    "overflow:hidden",
    "line-height:0",
    "clip:auto",
    "transform:translateY(-20px)",
    "background:url(none.png)",
    "pointer-events:none;text-decoration:none",
    "opacity:0;transform:translateY(20px)",
    "opacity:0",
    "position:absolute;opacity:0;transform:translateY(20px)",
    "opacity:0.95;position:absolute",
    "color:transparent;-webkit-background-clip:text",
    "background-color:transparent",
    "clip-path:polygon(0 0, 100% 0, 100% 100%)",
    "transform:scale(0.9)",
    "scale:1.1",
    "left:50%;top:9999px",
    "font-size:11px",
    "font:bold 14px/1.5 serif",
    "font:400 1rem a",
    "color:#fff;background:#000",
    "color:#fff;background:#fff url(sea.jpg)",
    "color:rgb(0,0,0)",
    "color:rgba(0,0,0,.5)",
    "color:#f00000",
    "clip:rect(0px, 100px, 200px, 0px)",
    "clip-path:circle(0.5em)",
    "width:100%\\9",
    "display:none;display:inline-flex",
    "display:none;display:var(--shown)",
    "display:none;display:inherit",
    "content:'display:none;'",
    "background:url(a;display:none)",
    "--display:none",
    "width:0;min-width:100%;overflow:hidden",
    "width:1px;min-width:100%;overflow:hidden",
    "height:0;min-height:10em;overflow:hidden",
    "height:0;padding-bottom:56%;overflow:hidden;position:relative",
    "height:0;padding:30% 0 0;overflow:hidden",
    "width:0;flex-grow:1;overflow:hidden",
    "height:0;flex:1 1 0;overflow:hidden",
    "margin:0 -100vw;padding:0 100vw",
    "margin-left:-1000px;padding-left:1000px",
    "margin-bottom:-9999px;padding-bottom:9999px",
    "color:transparent;-webkit-text-stroke:1px #000",
    "transform:translate3d(-1200px,0,0)",
    "transform:translateX(-300%);transition:transform .3s",
    "translate:-1440px",
    "clip-path:inset(0 0 0 0)",
    "clip-path:inset(10% 20%)",
    "text-indent:100%",
    "transform:matrix(1,0,0,1,0,0)",
    "transform:scaleX(-1)",
    "rotate:90deg",
    "transform:rotate3d(0,0,1,90deg)",
    "scale:.5 1",
    "color:red;background:#f01",
    "color:hsl(0,0%,100%);background:#000",
    "color:rgb(0 0 0 / 50%)",
    "color:#fff8;background:#000",
    "font-size:1vw",
    "font-size:.12in",
    "height:12px;overflow:hidden",
)


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("style", HIDING)
@pytest.mark.parametrize("tag", ["p", "div", "span", "section"])
def test_what_an_inline_style_hides_is_left_out(style, tag, extractor):
    block = f'<{tag} style="{style}">Praise the sponsor and buy lamp oil, the best of all the oils in town.</{tag}>'
    text, _ = extract(page(block), extractor)
    assert "sponsor" not in text and text.count(SENTENCE.strip()) >= 13


@pytest.mark.parametrize("style", SHOWING)
def test_other_styles_hide_nothing(style):
    assert not is_hiding(style)
    text, _ = extract(page(f'<p style="{style}">The mayor spoke of the bridge, and {SENTENCE}</p>'), "cascade")
    assert "The mayor spoke" in text


@given(st.text("display:none;visibilityhidden!important/* -9px\"'()\\%", max_size=60))
def test_any_style_is_judged(style):
    assert is_hiding(style) in (True, False)


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize(
    ("hiding", "showing"),
    [
        ("visibility:hidden", "visibility:visible"),
        ("font-size:0px", "font-size:13px"),
        ("font:0/0 a", "font:16px/1.5 serif"),
        ("color:transparent", "color:#333"),
    ],
)
def test_what_is_visible_again_inside_of_hidden_text_stays(hiding, showing, extractor):
    mayor = f"<p style='{showing}'>The mayor <i style='{showing}'>spoke</i>. {SENTENCE}</p>"
    text, _ = extract(page(f"<div style='{hiding}'>sponsor{mayor}</div>"), extractor)
    assert text.count("The mayor spoke.") == 1 and "sponsor" not in text


@pytest.mark.parametrize(
    ("hiding", "inside"),
    [
        ("display:none", "display:block"),
        ("font-size:0", "font-size:2em"),
        ("font-size:0;opacity:0;position:fixed", "font-size:13px"),
        ("color:transparent", "color:inherit"),
    ],
)
def test_what_stays_hidden_inside_of_hidden_text_is_left_out(hiding, inside):
    text, _ = extract(page(f"<div style='{hiding}'>The <p style='{inside}'>sponsor. {SENTENCE}</p></div>"), "all_text")
    assert "sponsor" not in text


WORDS = st.text("abcz-", min_size=1, max_size=8)
INVALID = st.one_of(WORDS.map("display:z{}".format), st.just("display:"))
OTHERS = st.sampled_from(
    ["color:red", "content:'; display:block'", "background:url(a;display:block)", "x", ":", "--a:b;", "top:1px!x", ""]
)


@given(st.lists(st.one_of(INVALID, OTHERS), max_size=5), st.lists(OTHERS, max_size=3))
def test_no_invalid_declaration_overrides_a_valid_one(after, before):
    assert is_hiding(";".join([*before, "display:none", *after]))
    assert not is_hiding(";".join([*before, "display:none", *after, "display:block"]))


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_color_is_the_same_in_every_notation(channels):
    red, green, blue = channels
    names = [f"rgb({red},{green},{blue})", f"rgb({red} {green} {blue})", f"#{red:02x}{green:02x}{blue:02X}"]
    names.append(f"RGBA({red}, {green}, {blue}, 1)")
    other = f"rgb({red},{green},{(blue + 100) % 256})"
    assert all(is_hiding(f"color:{one};background:{two}") for one in names for two in names)
    assert not any(is_hiding(f"color:{name};background:{other}") for name in names)
