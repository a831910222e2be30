"""MathML without its LaTeX is a line of text, once, by every extractor and in both formats."""

import re

import pytest

from pipelines.source.web.extraction.extract import extract_page

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
MATHML = {
    "a power": ("<mi>π</mi><msup><mi>r</mi><mn>2</mn></msup>", "πr^2"),
    "a fraction": ("<mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mi>b</mi></mfrac>", "(a+1)/b"),
    "a root": ("<msqrt><mi>x</mi><mo>-</mo><mn>1</mn></msqrt>", "√(x-1)"),
    "a cube root": ("<mroot><mi>x</mi><mn>3</mn></mroot>", "3√x"),
    "a sum": (
        "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><msub><mi>x</mi>"
        "<mi>i</mi></msub>",
        "∑_(i=1)^nx_i",
    ),
    "a matrix": (
        "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr><mtr><mtd><mn>3</mn></mtd><mtd><mn>4</mn></mtd>"
        "</mtr></mtable>",
        "1, 2; 3, 4",
    ),
    "words": ("<mtext>speed limit</mtext><mspace></mspace><mi>c</mi>", "speed limit c"),
    "other encodings": (
        "<semantics><mrow><mi>x</mi><mo>=</mo><mn>7</mn></mrow><annotation-xml encoding='MathML-Content'><apply><ci>"
        "y</ci></apply></annotation-xml></semantics>",
        "x=7",
    ),
    "what takes place and is not seen": ("<mi>x</mi><mphantom><mi>y</mi></mphantom>", "x"),
    "deep nesting": ("<mrow>" * 300 + "<mi>x</mi>" + "</mrow>" * 300, "x"),
}
AROUND = {
    "alone": "<math>{}</math>",
    "a block": "<math display='block'>{}</math>",
    "MathJax 3": "<mjx-container jax='SVG'><svg></svg><mjx-assistive-mml><math>{}</math></mjx-assistive-mml>"
    "</mjx-container>",
    "MathJax 2": "<span class='MathJax'><span>drawn</span><span class='MJX_Assistive_MathML'><math>{0}</math></span>"
    "</span><script type='math/mml'><math>{0}</math></script>",
}


@pytest.mark.parametrize("extractor", ["cascade", "main_content", "all_text"])
@pytest.mark.parametrize("text_format", ["text", "markdown"])
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("kind", MATHML)
def test_mathml_without_latex_is_a_line_of_text(kind, around, text_format, extractor):
    markup, line = MATHML[kind]
    formula = AROUND[around].format(markup)
    story = f"<p>{SENTENCE * 8}</p><p>The area {formula} is known. {SENTENCE}</p>"
    page = extract_page(f"<html><body><article>{story}</article></body></html>", extractor, text_format)
    assert f"The area {line} is known." in page.text


@pytest.mark.parametrize("prefix", ["mml:", "MML:"])
@pytest.mark.parametrize("kind", sorted(MATHML.keys() - {"deep nesting"}))
def test_mathml_with_a_prefix_is_the_same_line(kind, prefix):
    markup, line = MATHML[kind]
    formula = re.sub("<(/?)", rf"<\1{prefix}", f"<math>{markup}</math>")
    story = f"<p>{SENTENCE * 8}</p><p>The area {formula} is known. {SENTENCE}</p>"
    assert f"The area {line} is known." in extract_page(f"<html><body>{story}</body></html>", "cascade").text


@pytest.mark.parametrize("extractor", ["cascade", "main_content", "all_text"])
@pytest.mark.parametrize("hiding", ["style='display:none'", "hidden"])
def test_hidden_mathml_stays_hidden(hiding, extractor):
    story = f"<p>{SENTENCE * 8}</p><p>The area <math {hiding}><mi>sponsor</mi></math> is known. {SENTENCE}</p>"
    page = extract_page(f"<html><body><article>{story}</article></body></html>", extractor)
    assert "The area is known." in page.text
