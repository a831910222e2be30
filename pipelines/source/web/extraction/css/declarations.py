"""The declarations of an inline style that a browser obeys, and the lengths and functions in their values."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

_COMMENT = re.compile(r"/\*.*?(?:\*/|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:([0-9a-f]{1,6})\s?|(.))", re.DOTALL)
_STRING = r"\"(?:[^\"\\\n]|\\.)*+\"?|'(?:[^'\\\n]|\\.)*+'?"
_DECLARATION = re.compile(
    rf"(?:[^;\"'()\\]|\\.|{_STRING}|\((?:[^()\"']|{_STRING}|\([^()]*+\)?)*+\)?|[\\)])++", re.DOTALL
)
"""Strings and functions may hold semicolons."""
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_LENGTH = re.compile(rf"({NUMBER})([a-z]+|%)?")
_SINGLE = re.compile(rf"calc\(\s*({NUMBER}(?:[a-z]+|%)?)\s*\)")
_FUNCTION = re.compile(r"([a-z0-9-]+)\(([^()]*)\)")
_PART = re.compile(r"[^\s(]+(?:\([^()]*\))?")
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
    "in": 96,
    "cm": 38,
    "mm": 3.8,
    "q": 1,
    "pc": 16,
}
"""Pixels of each unit; relative ones on a screen and in letters of common sizes."""
_DISPLAYS = (
    "none|contents|block|inline|flow|flow-root|table|flex|grid|ruby|list-item|(?:inline-)?(?:block|table|flex|grid)"
    "|table-[a-z-]+|ruby-[a-z]+|-webkit-(?:inline-)?(?:box|flex)|math|run-in"
)
_SIZE = rf"auto|none|(?:-webkit-|-moz-)?(?:min|max|fit)-content|stretch|-webkit-fill-available|{NUMBER}(?:[a-z]+|%)?"
_FUNCTIONS = r"[a-z-]+\(.*\)"
_SIDES = ("top", "right", "bottom", "left")
_VALUES = {
    "display": rf"(?:{_DISPLAYS})(?:\s+(?:{_DISPLAYS}))*",
    "visibility": "visible|hidden|collapse",
    "content-visibility": "visible|hidden|auto",
    "position": "static|relative|absolute|fixed|(?:-webkit-)?sticky",
    "opacity": rf"{NUMBER}%?|{_FUNCTIONS}",
    "color": rf"#[0-9a-f]{{3,8}}|[a-z]+|{_FUNCTIONS}",
    **dict.fromkeys(
        ("overflow", "overflow-x", "overflow-y"),
        r"(?:visible|hidden|clip|scroll|auto|overlay)(?:\s+(?:visible|hidden|clip|scroll|auto|overlay))?",
    ),
    **dict.fromkeys(
        (
            *(f"{limit}{side}" for limit in ("", "min-", "max-") for side in ("height", "width")),
            *_SIDES,
            *(f"{around}-{side}" for around in ("margin", "padding") for side in _SIDES),
            "text-indent",
        ),
        f"(?:{_SIZE}|{_FUNCTIONS})(?:\\s+(?:hanging|each-line))*",
    ),
    "font-size": rf"(?:x{{0,3}}-)?(?:small|large)|medium|smaller|larger|{NUMBER}(?:[a-z]+|%)?|{_FUNCTIONS}",
}
_VALID = {name: re.compile(pattern, re.DOTALL) for name, pattern in _VALUES.items()}
"""Values of the properties that hide; a browser ignores any other."""
_ANY_PROPERTY = re.compile(r"inherit|initial|unset|revert(?:-layer)?|.*\b(?:var|env|attr)\(.*", re.DOTALL)
_ALIASES = {
    f"-webkit-{name}": name for name in ("clip-path", "filter", "transform", "mask", "mask-image", "opacity", "order")
}


@lru_cache(maxsize=2**14)
def declarations(style: str) -> Mapping[str, str]:
    """Properties of an inline style in small letters, the last valid value of each that is no weaker than another."""
    rules: dict[str, str] = {}
    important: set[str] = set()
    for declaration in _DECLARATION.findall(_COMMENT.sub("", style.lower())):
        name, _, value = _unescaped(declaration).partition(":")
        name = name.strip()
        name = _ALIASES.get(name, name)
        value, mark, strength = value.partition("!")
        value, strength = _SINGLE.sub(r"\1", value.strip()), strength.strip()
        if (mark and strength != "important") or not _is_valid(name, value):
            continue
        if strength:
            important.add(name)
        elif name in important:
            continue
        rules[name] = value
    return rules


def pixels(value: str) -> float | None:
    """The pixels of a length, None for a value that is written in another way."""
    match = _LENGTH.fullmatch(value)
    return float(match[1]) * _PIXELS[match[2] or ""] if match and (match[2] or "") in _PIXELS else None


def lengths(value: str) -> list[float]:
    """The pixels of each length in a value."""
    return [float(number) * _PIXELS.get(unit, 1) for number, unit in _LENGTH.findall(value)]


def functions(value: str) -> Iterator[tuple[str, list[str]]]:
    """The functions in a value, with the arguments of each."""
    for name, arguments in _FUNCTION.findall(value):
        yield name, re.split(r"[\s,]+", arguments.strip())


def sides(rules: Mapping[str, str], name: str) -> dict[str, str]:
    """The values of a property for each side of a box, such as its margins."""
    parts = _PART.findall(rules.get(name, "")) or ["0"]
    top = parts[0]
    right = parts[1] if len(parts) > 1 else top
    bottom = parts[2] if len(parts) > 2 else top
    left = parts[3] if len(parts) > 3 else right
    given = dict(zip(_SIDES, (top, right, bottom, left), strict=True))
    return {side: rules.get(f"{name}-{side}", value) for side, value in given.items()}


def _unescaped(declaration: str) -> str:
    if "\\" not in declaration:
        return declaration
    return _ESCAPE.sub(lambda escape: chr(min(int(escape[1], 16), 0xFFFF)) if escape[1] else escape[2], declaration)


def _is_valid(name: str, value: str) -> bool:
    pattern = _VALID.get(name)
    return bool(value) and (pattern is None or bool(pattern.fullmatch(value) or _ANY_PROPERTY.fullmatch(value)))
