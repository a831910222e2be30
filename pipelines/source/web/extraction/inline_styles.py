"""Whether an inline style makes its element invisible, as far as that needs no style sheet."""

import re
from collections.abc import Mapping
from functools import lru_cache

from resiliparse.parse.html import ElementNode

MAX_ON_SCREEN = 900
"""Pixels that an element is moved by and may still be seen."""
MAX_TO_THE_RIGHT = 5000
"""Pixels to the right, wider than any screen, that an element is moved by and may still be seen."""
MIN_FONT_PIXELS = 2
"""Height of letters below which nobody reads them."""

_COMMENT = re.compile(r"/\*.*?(?:\*/|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\([0-9a-f]{1,6})\s?")
_LENGTH = re.compile(r"(-?\d*\.?\d+)\s*(px|r?em|ex|ch|pt|%|v[wh])?")
_ZERO = r"0*\.?0+(?:px|r?em|pt|%)?"
_NOTHING = re.compile(_ZERO)
_FONT_SHORTHAND = re.compile(r"(?:^|\s)(\d*\.?\d+)(px|r?em|pt|%)?\s*[/\s]")
_EDGE = r"(?:[01](?:px)?)"
_CLIPPED = re.compile(
    rf"rect\(\s*{_EDGE}[\s,]+\S+?[\s,]+{_EDGE}[\s,]|rect\(\s*\S+?[\s,]+{_EDGE}[\s,]+\S+?[\s,]+{_EDGE}\s*\)"
    rf"|inset\(\s*(?:[5-9]\d|100)%\s*\)|(?:circle|ellipse)\(\s*{_ZERO}[\s)]"
    r"|polygon\(\s*([^,()]+?)(?:\s*,\s*\1)+\s*\)"
)
_SCALED_AWAY = re.compile(
    r"scale(?:3d|x|y)?\(\s*0*\.?0+\s*[,)]|matrix\((?:\s*0*\.?0+\s*,){4}"
    r"|rotate[xy]\(\s*-?(?:(?:90|270)(?:\.0+)?deg|100grad|300grad|0?\.[27]5turn)\s*\)"
)
"""To nothing, or on edge."""
_MASKED_AWAY = re.compile(
    rf"gradient\((?:to [a-z ]+,|-?[\d.]+deg,)?(?:\s*(?:transparent|rgba\([^()]*,\s*{_ZERO}\s*\)|#0000)"
    r"(?:\s+[\d.]+%)?\s*(?:,|(?=\)))){2,}\)"
)
"""By a gradient from nothing to nothing."""
_MONOSPACED = re.compile(r"monospace|courier|consolas|menlo|monaco")
_NO_ALPHA = re.compile(
    rf"transparent|#[0-9a-f]{{3}}0|#[0-9a-f]{{6}}00|(?:rgb|hsl)a?\((?:[^,()/]+,){{3}}\s*{_ZERO}\s*\)"
    rf"|(?:rgb|hsl)a?\([^()/]+/\s*{_ZERO}\s*\)"
)
_HEX = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})")
_RGB = re.compile(r"rgb\(\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})\s*\)")
_NAMED = {"white": "#ffffff", "black": "#000000"}
_PIXELS: Mapping[str, float] = {
    "": 1,
    "px": 1,
    "pt": 1.3,
    "%": 9,
    "vw": 10,
    "vh": 10,
    "ch": 8,
    "ex": 8,
    "em": 16,
    "rem": 16,
}
_OFFSETS = (
    *("left", "right", "top", "bottom", "inset", "inset-inline", "inset-inline-start", "inset-inline-end"),
    *("inset-block", "inset-block-start", "inset-block-end", "text-indent", "margin", "margin-left", "margin-top"),
    *("margin-inline-start", "transform", "translate"),
)
_TO_THE_RIGHT = ("left", "inset-inline-start", "text-indent", "margin-left", "margin-inline-start")
_SIZES = tuple(f"{limit}{side}" for limit in ("", "max-") for side in ("height", "width", "block-size", "inline-size"))
_OVERFLOWS = ("overflow", "overflow-x", "overflow-y")


@lru_cache(maxsize=2**14)
def is_hiding(style: str) -> bool:
    """Whether an inline style makes its element invisible."""
    rules = _declarations(style)
    return _hides_for_good(rules) or _hidden_by(rules) != ""


@lru_cache(maxsize=2**14)
def keeps_lines(style: str) -> bool:
    """Whether an inline style prints the lines of code as they are written; prose may wrap, too."""
    rules = _declarations(style)
    blanks = rules.get("white-space", "")
    return blanks == "pre" or (blanks in ("pre-wrap", "break-spaces") and bool(_MONOSPACED.search(style.lower())))


def visible_again(element: ElementNode) -> list[ElementNode]:
    """The outermost descendants of a hidden element that set the property which hides it back to a visible value: the
    visibility, the size of letters or their color, which they would inherit."""
    rules = _declarations(element.get_attribute("style") or "")
    name = "" if _hides_for_good(rules) else _hidden_by(rules)
    if not name:
        return []
    again: list[ElementNode] = []
    # In the order of the page, descendants follow their element.
    for inner in element.query_selector_all("[style]").values():
        own = _declarations(inner.get_attribute("style") or "")
        if _shows(own, name) and not (again and again[-1].contains(inner)):
            again.append(inner)
    return again


def _hides_for_good(rules: Mapping[str, str]) -> bool:
    """Whether nothing inside the element can be visible."""
    if rules.get("display") == "none" or rules.get("content-visibility") == "hidden":
        return True
    if _NOTHING.fullmatch(rules.get("zoom", "1")) or _MASKED_AWAY.search(_mask(rules)):
        return True
    if _CLIPPED.search(rules.get("clip", "") + rules.get("clip-path", "")):
        return True
    return _has_no_room(rules) or _is_off_screen(rules) or _is_see_through(rules)


def _hidden_by(rules: Mapping[str, str]) -> str:
    """The inherited property that hides the element; "" if none does."""
    if rules.get("visibility") in ("hidden", "collapse"):
        return "visibility"
    if _has_tiny_letters(rules):
        return "font-size"
    return "color" if _has_no_color(rules) else ""


def _shows(rules: Mapping[str, str], name: str) -> bool:
    """Whether an element's own rules end what it inherits of the property `name`."""
    if name == "visibility":
        return rules.get(name) == "visible"
    if _hides_for_good(rules) or _hidden_by(rules):
        return False
    if name == "color":
        return name in rules and rules[name] not in ("inherit", "currentcolor")
    # Sizes relative to nothing are nothing.
    size = rules.get(name, rules.get("font", ""))
    return size not in ("", "inherit") and not re.search(r"\d(?:em|ex|ch|%)|smaller|larger", size)


@lru_cache(maxsize=2**14)
def _declarations(style: str) -> Mapping[str, str]:
    """Properties of an inline style, the last of each that is no weaker than another."""
    rules: dict[str, str] = {}
    important: set[str] = set()
    plain = _COMMENT.sub("", style.lower())
    if "\\" in plain:
        plain = _ESCAPE.sub(lambda escape: chr(min(int(escape[1], 16), 0xFFFF)), plain)
    for declaration in plain.split(";"):
        name, _, value = declaration.partition(":")
        name = name.strip()
        value, _, strength = value.partition("!")
        if strength.strip() == "important":
            important.add(name)
        elif name in important:
            continue
        rules[name] = value.strip()
    return rules


def _has_tiny_letters(rules: Mapping[str, str]) -> bool:
    shorthand = _FONT_SHORTHAND.search(f"{rules.get('font', '')} ")
    size = _LENGTH.fullmatch(rules.get("font-size", "")) or shorthand
    if not size:
        return False
    if shorthand is size and not size[2] and float(size[1]):
        # A weight: sizes other than 0 have a unit.
        return False
    pixels = _PIXELS[size[2] or ""] if size[2] != "%" else 0.16
    return 0 <= float(size[1]) * pixels < MIN_FONT_PIXELS


def _has_no_room(rules: Mapping[str, str]) -> bool:
    sizes = [rules.get(name, "auto") for name in _SIZES]
    return any(rules.get(name, "").startswith(("hidden", "clip")) for name in _OVERFLOWS) and any(
        _NOTHING.fullmatch(size) or size == "1px" for size in sizes
    )


def _is_off_screen(rules: Mapping[str, str]) -> bool:
    if _SCALED_AWAY.search(rules.get("transform", "")) or _NOTHING.fullmatch(rules.get("scale", "1")):
        return True
    lengths = [found for name in _OFFSETS for found in _LENGTH.findall(rules.get(name, ""))]
    if any(float(number) * _PIXELS[unit] < -MAX_ON_SCREEN for number, unit in lengths):
        return True
    to_the_right = [found for name in _TO_THE_RIGHT for found in _LENGTH.findall(rules.get(name, ""))]
    return any(float(number) * _PIXELS[unit] > MAX_TO_THE_RIGHT for number, unit in to_the_right)


def _is_see_through(rules: Mapping[str, str]) -> bool:
    """Whether the element is transparent for good: scripts show what only begins so."""
    is_apart = rules.get("position") in ("absolute", "fixed") and "transform" not in rules
    if is_apart and _NOTHING.fullmatch(rules.get("opacity", "1")):
        return True
    # What begins so is faded in by `opacity`, hardly ever by a filter.
    is_fixed = not any(name.startswith(("transition", "animation")) for name in rules)
    return is_fixed and re.search(rf"opacity\(\s*{_ZERO}\s*\)", rules.get("filter", "")) is not None


def _mask(rules: Mapping[str, str]) -> str:
    return " ".join(rules.get(f"{maker}mask{part}", "") for maker in ("", "-webkit-") for part in ("", "-image"))


def _has_no_color(rules: Mapping[str, str]) -> bool:
    """Whether letters have no color or that of their background, and are not cut out of one."""
    color = rules.get("-webkit-text-fill-color", rules.get("color", ""))
    if not color or any("background-clip" in name or name == "text-shadow" for name in rules):
        return False
    if _NO_ALPHA.fullmatch(color):
        return True
    behind = _rgb(rules.get("background-color", rules.get("background", "")))
    return behind is not None and "background-image" not in rules and behind == _rgb(color)


def _rgb(color: str) -> tuple[int, ...] | None:
    """Red, green and blue of a color, None for one that is written in another way."""
    if match := _RGB.fullmatch(color):
        return tuple(map(int, match.groups()))
    if not (match := _HEX.fullmatch(_NAMED.get(color, color))):
        return None
    step = len(match[1]) // 3
    return tuple(int(match[1][at : at + step] * (3 - step), 16) for at in range(0, len(match[1]), step))
