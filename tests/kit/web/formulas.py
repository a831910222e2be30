"""Formulas in LaTeX, and the HTML in which pages hold them."""

from html import escape

FORMULAS = [r"E=mc^{2}", r"\frac{a}{b}", r"\int_{0}^{1} x\,dx", r"\sum_{n=1}^{\infty} \frac{1}{n^{2}}", r"a < b \& c"]
ENCODINGS = {
    "MathJax 2": "<span class='MathJax_Preview'>?</span><script type='math/tex'>{raw}</script>",
    "MathJax 3": "<mjx-container><mjx-math>??</mjx-math><mjx-assistive-mml><math><semantics><mi>?</mi>"
    "<annotation encoding='application/x-tex'>{tex}</annotation></semantics></math></mjx-assistive-mml>"
    "</mjx-container>",
    "KaTeX": "<span class='katex'><span class='katex-mathml'><math><semantics><mi>?</mi>"
    "<annotation encoding='application/x-tex'>{tex}</annotation></semantics></math></span>"
    "<span class='katex-html' aria-hidden='true'>??</span></span>",
    "MathML with an annotation": "<math><semantics><mi>?</mi>"
    "<annotation encoding='application/x-tex'>{tex}</annotation></semantics></math>",
    "MathML with alttext": "<math alttext='{tex}'><mi>?</mi></math>",
    "Wikipedia": "<span class='mwe-math-element'><span style='display: none;'>"
    "<math alttext='{tex}'><mi>?</mi></math></span>"
    "<img class='mwe-math-fallback-image-inline' alt='{tex}' src='x'></span>",
    "images": "<img class='latex' alt='{tex}' src='x'>",
}
"""By name: `{tex}` is the formula with characters escaped, `{raw}` as it is, "?" what a reader must not see."""


def encoded_formula(formula: str, encoding: str) -> str:
    """HTML of a formula in one of the ENCODINGS."""
    return ENCODINGS[encoding].format(tex=escape(formula, quote=True), raw=formula)
