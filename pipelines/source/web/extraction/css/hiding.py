"""Whether an inline style makes its element invisible, as far as that needs no style sheet."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from resiliparse.parse.html import ElementNode

from pipelines.source.web.extraction.css.colors import is_same, is_transparent
from pipelines.source.web.extraction.css.declarations import (
    NUMBER,
    declarations,
    functions,
    lengths,
    pixels,
    sides,
)

MAX_ON_SCREEN = 900
"""Pixels that an element is moved by and may still be seen."""
MAX_TO_THE_RIGHT = 5000
"""Pixels to the right, wider than any screen, that an element is moved by and may still be seen."""
MAX_SLIDES = 9000
"""Pixels to the left that the track of a carousel is moved by, and some of its slides may still be seen."""
MIN_FONT_PIXELS = 2
"""Height of letters below which nobody reads them."""
MAX_ROOM = 2
"""Pixels of height or width in which nothing can be read."""
MIN_PADDING = 20
"""Pixels of padding, which is part of the visible box, from which there is room for a line."""
MIN_OPACITY = 0.01
"""Opacity, or a factor of size, below which nothing can be seen."""

_ZERO = r"0*\.?0+(?:px|r?em|pt|%)?"
_FONT_SHORTHAND = re.compile(rf"(?:^|\s)({NUMBER})(px|r?em|pt|%)?\s*[/\s]")
_EDGE = r"(?:[01](?:px)?)"
_CLIPPED = re.compile(
    rf"rect\(\s*{_EDGE}[\s,]+\S+?[\s,]+{_EDGE}[\s,]|rect\(\s*\S+?[\s,]+{_EDGE}[\s,]+\S+?[\s,]+{_EDGE}\s*\)"
    rf"|xywh\(\s*\S+\s+\S+\s+(?:{_ZERO}\s|\S+\s+{_ZERO}[\s)])|(?:circle|ellipse)\(\s*{_ZERO}[\s)]"
    r"|polygon\(\s*([^,()]+?)(?:\s*,\s*\1)+\s*\)"
)
_INSET = re.compile(r"inset\(\s*([^()]+?)\s*(?:round\b[^()]*)?\)")
_MASKED_AWAY = re.compile(
    rf"gradient\((?:to [a-z ]+,|-?[\d.]+deg,)?(?:\s*(?:transparent|rgba\([^()]*,\s*{_ZERO}\s*\)|#0000)"
    r"(?:\s+[\d.]+%)?\s*(?:,|(?=\)))){2,}\)"
)
"""By a gradient from nothing to nothing."""
_MONOSPACED = re.compile(r"monospace|courier|consolas|menlo|monaco")
_EDGE_ON = {"deg": 90.0, "grad": 100.0, "turn": 0.25}
"""A right angle in each unit."""
_ANGLE = re.compile(rf"({NUMBER})(deg|grad|turn)")
_OFFSETS = (
    *("left", "right", "top", "bottom", "inset", "inset-inline", "inset-inline-start", "inset-inline-end"),
    *("inset-block", "inset-block-start", "inset-block-end", "text-indent", "margin-inline-start", "letter-spacing"),
)
_TO_THE_RIGHT = ("left", "inset-inline-start", "text-indent", "margin-left", "margin-inline-start")
_BLOCK_DISPLAYS = frozenset({"block", "flex", "flow-root", "grid", "list-item", "table", "table-row"})
_ROOM = {"height": ("height", "block-size"), "width": ("width", "inline-size")}
_ENDS = {"height": ("top", "bottom"), "width": ("left", "right")}
_OVERFLOWS = ("overflow", "overflow-x", "overflow-y")


@lru_cache(maxsize=2**14)
def is_hiding(style: str) -> bool:
    """Whether an inline style makes its element invisible."""
    rules = declarations(style)
    return _hides_for_good(rules) or _hidden_by(rules) != ""


@lru_cache(maxsize=2**14)
def keeps_lines(style: str) -> bool:
    """Whether an inline style prints the lines of code as they are written; prose may wrap, too."""
    rules = declarations(style)
    blanks = rules.get("white-space", "")
    return blanks == "pre" or (blanks in ("pre-wrap", "break-spaces") and bool(_MONOSPACED.search(style.lower())))


@lru_cache(maxsize=2**14)
def is_block(style: str) -> bool:
    """Whether an inline style makes its element a block."""
    return declarations(style).get("display", "") in _BLOCK_DISPLAYS


@lru_cache(maxsize=2**14)
def is_fixed(style: str) -> bool:
    """Whether an inline style keeps its element on the screen, above the page that moves below it."""
    return declarations(style).get("position") == "fixed"


def visible_again(element: ElementNode) -> list[ElementNode]:
    """The outermost descendants of a hidden element that set the property which hides it back to a visible value: the
    visibility, the size of letters or their color, which they would inherit."""
    rules = declarations(element.get_attribute("style") or "")
    name = "" if _hides_for_good(rules) else _hidden_by(rules)
    if not name:
        return []
    again: list[ElementNode] = []
    # In the order of the page, descendants follow their element.
    for inner in element.query_selector_all("[style]").values():
        own = declarations(inner.get_attribute("style") or "")
        if _shows(own, name) and not (again and again[-1].contains(inner)):
            again.append(inner)
    return again


def _hides_for_good(rules: Mapping[str, str]) -> bool:
    """Whether nothing inside the element can be visible."""
    if rules.get("display") == "none" or rules.get("content-visibility") == "hidden":
        return True
    if _is_nothing(rules.get("zoom", "1")) or _MASKED_AWAY.search(_mask(rules)):
        return True
    if _is_clipped(rules.get("clip", "") + rules.get("clip-path", "")):
        return True
    is_away = _is_scaled_away(rules) or _is_off_screen(rules) or _is_beside_its_box(rules)
    return is_away or _has_no_room(rules) or _is_see_through(rules)


def _hidden_by(rules: Mapping[str, str]) -> str:
    """The inherited property that hides the element; "" if none does."""
    if rules.get("visibility") in ("hidden", "collapse"):
        return "visibility"
    if _has_tiny_letters(rules):
        return "font-size"
    return "color" if _has_no_color(rules) else ""


def _shows(rules: Mapping[str, str], name: str) -> bool:
    """Whether an element's own rules replace the inherited property `name`."""
    if name == "visibility":
        return rules.get(name) == "visible"
    if _hides_for_good(rules) or _hidden_by(rules):
        return False
    if name == "color":
        return name in rules and rules[name] not in ("inherit", "currentcolor")
    # Sizes relative to nothing are nothing.
    size = rules.get(name, rules.get("font", ""))
    return size not in ("", "inherit") and not re.search(r"\d(?:em|ex|ch|%)|smaller|larger", size)


def _is_nothing(number: str) -> bool:
    """Whether a factor or opacity is as good as zero."""
    value = re.fullmatch(rf"({NUMBER})(%?)", number)
    return value is not None and abs(float(value[1])) * (0.01 if value[2] else 1) < MIN_OPACITY


def _is_clipped(shape: str) -> bool:
    if _CLIPPED.search(shape):
        return True
    if not (inset := _INSET.search(shape)):
        return False
    edges = {side: _share(value) for side, value in sides({"inset": inset[1]}, "inset").items()}
    return edges["top"] + edges["bottom"] >= 1 or edges["left"] + edges["right"] >= 1


def _share(length: str) -> float:
    return float(length[:-1]) / 100 if re.fullmatch(f"{NUMBER}%", length) else 0


def _has_tiny_letters(rules: Mapping[str, str]) -> bool:
    size = rules.get("font-size", "")
    if not size and (shorthand := _FONT_SHORTHAND.search(f"{rules.get('font', '')} ")):
        # A number without a unit is a weight: sizes other than 0 have one.
        size = f"{shorthand[1]}{shorthand[2] or ''}" if shorthand[2] or not float(shorthand[1]) else ""
    height = pixels(size)
    if height is None:
        return False
    # Of the letters around.
    return 0 <= (height * 16 / 900 if size.endswith("%") else height) < MIN_FONT_PIXELS


def _has_no_room(rules: Mapping[str, str]) -> bool:
    if not any(rules.get(name, "").startswith(("hidden", "clip")) for name in _OVERFLOWS):
        return False
    return any(_is_flat(rules, side) for side in _ROOM)


def _is_flat(rules: Mapping[str, str], side: str) -> bool:
    """Whether a box has no height or no width, nor gets it from its minimum, its padding or a growing flexible box."""
    names = _ROOM[side]
    if any(_is_tiny(rules.get(f"max-{name}", "")) for name in names):
        return not _has_padding(rules, side)
    if not any(_is_tiny(rules.get(name, "")) for name in names):
        return False
    if any(rules.get(f"min-{name}", "auto") != "auto" and not _is_tiny(rules[f"min-{name}"]) for name in names):
        return False
    grows = re.match(r"\d*\.?\d+", rules.get("flex-grow", rules.get("flex", "")))
    return not (grows and float(grows[0])) and not _has_padding(rules, side)


def _is_tiny(length: str) -> bool:
    room = pixels(length)
    return room is not None and 0 <= room <= (0 if length.endswith("%") else MAX_ROOM)


def _has_padding(rules: Mapping[str, str], side: str) -> bool:
    padding = sides(rules, "padding")
    return any((pixels(padding[end]) or 0) > MIN_PADDING for end in _ENDS[side])


def _is_off_screen(rules: Mapping[str, str]) -> bool:
    offsets = [length for name in _OFFSETS if name in rules for length in lengths(rules[name])]
    if min((*offsets, *_margins(rules)), default=0) < -MAX_ON_SCREEN:
        return True
    if any(length > MAX_TO_THE_RIGHT for name in _TO_THE_RIGHT if name in rules for length in lengths(rules[name])):
        return True
    limit = MAX_ON_SCREEN if rules.get("position") in ("absolute", "fixed") else MAX_SLIDES
    return any(x < -limit or y < -MAX_ON_SCREEN for x, y in _moves(rules))


def _margins(rules: Mapping[str, str]) -> Iterator[float]:
    """How far the margins before a box, in both directions, move its content."""
    if not any(name.startswith("margin") for name in rules):
        return
    margin, padding = sides(rules, "margin"), sides(rules, "padding")
    for side in ("top", "left"):
        yield sum(lengths(margin[side])) + sum(lengths(padding[side]))


def _moves(rules: Mapping[str, str]) -> Iterator[tuple[float, float]]:
    """Pixels to the right and down by each movement of the element."""
    yield _point(rules.get("translate", "").split())
    for name, arguments in functions(rules.get("transform", "")):
        if name in ("translate", "translate3d"):
            yield _point(arguments)
        elif name in ("translatex", "translatey"):
            yield _point(arguments[:1] if name == "translatex" else ["0", *arguments[:1]])
        elif name == "matrix":
            yield _point(arguments[4:6])


def _point(values: Iterable[str]) -> tuple[float, float]:
    x, y = (*(pixels(value) or 0 for value in values), 0, 0)[:2]
    return x, y


def _is_scaled_away(rules: Mapping[str, str]) -> bool:
    """Whether an element is scaled to nothing, or stands on edge."""
    if any(map(_is_nothing, rules.get("scale", "1").split()[:2])):
        return True
    turned = rules.get("rotate", "").split()
    if len(turned) > 1 and _is_on_edge("rotate3d", ["1", "1", "0", turned[-1]] if turned[0] in "xy" else turned):
        return True
    for name, arguments in functions(rules.get("transform", "")):
        if name in ("scale", "scale3d", "scalex", "scaley") and any(map(_is_nothing, arguments[:2])):
            return True
        if name == "matrix" and _is_flattening(arguments):
            return True
        if _is_on_edge(name, arguments):
            return True
    return False


def _is_flattening(matrix: list[str]) -> bool:
    if len(matrix) != 6 or not all(re.fullmatch(NUMBER, number) for number in matrix):
        return False
    a, b, c, d, _, _ = map(float, matrix)
    return abs(a * d - b * c) < MIN_OPACITY**2


def _is_on_edge(name: str, arguments: list[str]) -> bool:
    """Whether a function turns an element a quarter around an axis in the plane of the screen."""
    angle = _ANGLE.fullmatch(arguments[-1])
    if not angle or not (name in ("rotatex", "rotatey") or (name == "rotate3d" and arguments[2:3] == ["0"])):
        return False
    quarters = float(angle[1]) / _EDGE_ON[angle[2]]
    return quarters % 2 == 1


def _is_beside_its_box(rules: Mapping[str, str]) -> bool:
    """Whether a text of one line begins at the end of a box that shows nothing beside it (Kellum's way)."""
    indent = rules.get("text-indent", "")
    is_cut = any(rules.get(name, "").startswith(("hidden", "clip")) for name in _OVERFLOWS)
    return is_cut and rules.get("white-space") in ("nowrap", "pre") and _share(indent) >= 1


def _is_see_through(rules: Mapping[str, str]) -> bool:
    """Whether the element is transparent for good: scripts show what only begins so."""
    is_apart = rules.get("position") in ("absolute", "fixed") and "transform" not in rules
    if is_apart and _is_nothing(rules.get("opacity", "1")):
        return True
    # What begins so is faded in by `opacity`, hardly ever by a filter.
    is_fixed = not any(name.startswith(("transition", "animation")) for name in rules)
    filters = functions(rules.get("filter", ""))
    return is_fixed and any(name == "opacity" and _is_nothing(arguments[0]) for name, arguments in filters)


def _mask(rules: Mapping[str, str]) -> str:
    return f"{rules.get('mask', '')} {rules.get('mask-image', '')}"


def _has_no_color(rules: Mapping[str, str]) -> bool:
    """Whether letters have no color or that of their background, and are neither outlined nor cut out of one."""
    color = rules.get("-webkit-text-fill-color", rules.get("color", ""))
    if not color or any(part in name for name in rules for part in ("background-clip", "text-shadow", "text-stroke")):
        return False
    if is_transparent(color):
        return True
    behind = rules.get("background-color", rules.get("background", ""))
    return "background-image" not in rules and is_same(color, behind)
