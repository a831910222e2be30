"""Text that an inline style makes invisible stays out of the corpus, and text that it does not stays in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.source.web.extraction.extract import extract
from pipelines.source.web.extraction.inline_styles import is_hiding

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


@given(st.text("display:none;visibilityhidden!important/* -9px", max_size=60))
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
