"""Formulas of a page as LaTeX between dollars, each of them once.

Wikipedia, MathJax, KaTeX and MathML in general keep the LaTeX source of a formula next to one or two renderings of it,
for eyes and for screen readers. MathML without LaTeX becomes a line of text, in which `^`, `_`, `/` and `√` stand for
the layout (M. Sargent, "UnicodeMath", Unicode Technical Note 28).
"""

import re

from resiliparse.parse.html import ElementNode, HTMLTree

from pipelines.source.web.extraction.css.hiding import is_hiding
from pipelines.source.web.extraction.dom import new_text, one_by_one

_RENDERED = (
    ".katex-display,.katex,.mwe-math-element,mjx-container,.MathJax_Display,.MathJax_Preview,"
    ".MathJax,.MathJax_SVG,.MathJax_CHTML,math"
)
IMAGES_OF_FORMULAS = (
    "img:is(.tex,.latex,.mwe-math-fallback-image-inline,.mwe-math-fallback-image-display,[class*=quicklatex])[alt]"
)
_FORMULAS = f"{_RENDERED},{IMAGES_OF_FORMULAS},script[type^='math/tex']"
_DISPLAYED = (
    ".katex-display,.MathJax_Display,math[display=block],mjx-container[display=true],"
    ".mwe-math-fallback-image-display,script[type*='mode=display']"
)
_ANNOTATION = "annotation:is([encoding*=tex i])"
MAX_NESTED = 100
"""Elements of MathML inside each other below which their layout is not read any more."""
_UNSEEN = frozenset({"annotation", "annotation-xml", "mphantom", "none", "mprescripts"})
_SCRIPTS = {"msub": "_", "munder": "_", "msup": "^", "mover": "^", "mfrac": "/", "msubsup": "_^", "munderover": "_^"}
"""The marks before the parts of an element that follow its first."""
_LISTS = {"mtable": "; ", "mtr": ", "}
"""The marks between the parts of an element."""
_DISPLAY_STYLE = re.compile(r"^\{\s*\\(?:display|text)style\s*(.*)\}$", re.DOTALL)


def write_formulas(tree: HTMLTree, body: ElementNode) -> None:
    """Replace the formulas of `tree` by their LaTeX."""
    done: ElementNode | None = None
    for element in body.query_selector_all(_FORMULAS).values():
        # In the order of the page, descendants follow their element.
        if done is not None and done.contains(element):
            continue
        if _is_rendering_of_script(element):
            element.remove()
        elif latex := _latex(element):
            done = element
            mark = "$$" if _is_displayed(element) else "$"
            element.replace_with(new_text(tree, f"{mark}{latex}{mark}"))
        elif (math := _math(element)) is not None and not _is_hidden(math):
            done = element
            element.replace_with(new_text(tree, _line(math)))


def _is_rendering_of_script(element: ElementNode) -> bool:
    """Whether MathJax made the element from a script that follows it."""
    if "MathJax" not in (element.class_name or ""):
        return False
    following = element.next_element_sibling
    while following is not None and "MathJax" in (following.class_name or ""):
        following = following.next_element_sibling
    return following is not None and following.matches("script[type^='math/tex']")


def _latex(element: ElementNode) -> str:
    annotation = element.query_selector(_ANNOTATION)
    if annotation is not None:
        return _plain(annotation.text or "")
    if element.tag == "script":
        return _plain(element.text or "")
    inside = (element, *one_by_one(element.query_selector_all(f"math,{IMAGES_OF_FORMULAS}")))
    stated = (each.get_attribute("alttext") or each.get_attribute("alt") for each in inside)
    return _plain(next(filter(None, stated), ""))


def _math(element: ElementNode) -> ElementNode | None:
    return element if element.tag == "math" else element.query_selector("math")


def _is_hidden(math: ElementNode) -> bool:
    return math.has_attribute("hidden") or is_hiding(math.get_attribute("style") or "")


def _line(element: ElementNode, depth: int = 0) -> str:
    """MathML as a line of text."""
    tag, children = element.tag or "", list(element.children.values())
    if not children or depth == MAX_NESTED:
        return " " if tag == "mspace" else " ".join((element.text or "").split())
    parts = [_line(child, depth + 1) for child in children if child.tag not in _UNSEEN]
    if tag == "msqrt":
        return f"√{_operand(''.join(parts))}"
    if tag == "mroot" and len(parts) == 2:
        return f"{parts[1]}√{_operand(parts[0])}"
    marks = _SCRIPTS.get(tag, "")
    if marks and len(parts) == len(marks) + 1:
        first, *scripts = map(_operand, parts)
        return first + "".join(map("".join, zip(marks, scripts, strict=True)))
    return _LISTS.get(tag, "").join(parts)


def _operand(line: str) -> str:
    return line if len(line) < 2 or line.isalnum() else f"({line})"


def _is_displayed(element: ElementNode) -> bool:
    return element.matches(_DISPLAYED) or element.query_selector(_DISPLAYED) is not None


def _plain(latex: str) -> str:
    """`latex` on one line, without dollars and the style that Wikipedia writes around it."""
    latex = " ".join(latex.split()).strip("$").strip()
    styled = _DISPLAY_STYLE.match(latex)
    return styled[1].strip() if styled else latex
