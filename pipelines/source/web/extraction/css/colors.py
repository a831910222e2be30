"""Colors of CSS: equal ones in different notations, and those that cannot be seen."""

import colorsys
import re

from pipelines.source.web.extraction.css.declarations import NUMBER

_HEX = re.compile(r"#([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})")
_FUNCTION = re.compile(r"(rgb|hsl|hwb|lab|lch|oklab|oklch|color)a?\(([^()]*)\)")
_CHANNEL = re.compile(rf"({NUMBER})(%|deg|turn|rad|grad)?")
_NAMED = {
    "black": "#000",
    "silver": "#c0c0c0",
    "gray": "#808080",
    "grey": "#808080",
    "white": "#fff",
    "red": "#f00",
    "maroon": "#800000",
    "yellow": "#ff0",
    "olive": "#808000",
    "lime": "#0f0",
    "green": "#008000",
    "aqua": "#0ff",
    "cyan": "#0ff",
    "teal": "#008080",
    "blue": "#00f",
    "navy": "#000080",
    "fuchsia": "#f0f",
    "magenta": "#f0f",
    "purple": "#800080",
    "orange": "#ffa500",
}
"""The colors of HTML 4; others are equal if their names are."""
MIN_ALPHA = 0.01


def is_transparent(color: str) -> bool:
    """Whether a color has no or nearly no opacity."""
    if color == "transparent":
        return True
    if match := _HEX.fullmatch(color):
        digits = match[1]
        return len(digits) in (4, 8) and set(digits[3 if len(digits) == 4 else 6 :]) == {"0"}
    match = _FUNCTION.fullmatch(color)
    channels = _CHANNEL.findall(match[2]) if match else []
    if not match or not (len(channels) == 4 or "/" in match[2]):
        return False
    number, unit = channels[-1]
    return float(number) * (0.01 if unit == "%" else 1) < MIN_ALPHA


def is_same(color: str, other: str) -> bool:
    """Whether two colors are equal."""
    return (color == other and color.isalpha()) or (_rgb(color) is not None and _rgb(color) == _rgb(other))


def _rgb(color: str) -> tuple[int, ...] | None:
    """Red, green and blue of an opaque color in bytes, None for one that is written in another way."""
    color = _NAMED.get(color, color)
    if match := _HEX.fullmatch(color):
        digits = match[1] if len(match[1]) > 4 else "".join(digit * 2 for digit in match[1])
        return tuple(int(digits[at : at + 2], 16) for at in (0, 2, 4))
    match = _FUNCTION.fullmatch(color)
    channels = _CHANNEL.findall(match[2]) if match else []
    if not match or len(channels) < 3:
        return None
    if match[1] == "rgb":
        return tuple(round(float(number) * (2.55 if unit == "%" else 1)) for number, unit in channels[:3])
    if match[1] != "hsl":
        return None
    hue, saturation, lightness = (float(number) for number, _ in channels[:3])
    turned = hue * {"turn": 360.0, "grad": 0.9}.get(channels[0][1], 1.0)
    return tuple(round(255 * each) for each in colorsys.hls_to_rgb(turned / 360 % 1, lightness / 100, saturation / 100))
