"""Extracted text as it is stored: without invisible characters, trailing blanks and runs of empty lines."""

import re
from collections.abc import Set

from pipelines.source.web.extraction.code import BLANK_LINE

LINE_OF_PROSE = 100
"""Characters of a line that is prose and no menu, title or cell (jusText's LENGTH_HIGH is 200, LENGTH_LOW 70)."""
MIN_REPEATED = 25
"""Characters of a line that is no label, which may be there several times."""
_MARKS = " >•-*#"

FIRST_TAG = "\U000e0000"
_CONTROLS = "".join(map(chr, (*range(9), *range(14, 28), 31, 127)))
"""Those of ASCII that neither separate lines nor words. A browser shows nothing for them."""
_FORMATS = "\xad\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffc\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
_SHAPING = "\u034f\u180b-\u180f"
"""Behind the letters of Hebrew, Mongolian and Korean these and fillers order, shape or hold the place of others."""
_TAGS, _SELECTORS, _MORE_SELECTORS = "\U000e0020-\U000e007f", "\ufe00-\ufe0f", "\U000e0100-\U000e01ef"
_FILLERS, _KOREAN = "\u115f\u1160\u3164\uffa0", "\u1100-\u11ff\u3131-\u318e"
_INVISIBLE = re.compile(
    f"[{_FORMATS}{_TAGS}{_SELECTORS}{_MORE_SELECTORS}{_FILLERS}{_SHAPING}](?:(?<=[{_FORMATS}])"
    f"|(?<=[{_TAGS}])(?<![\U0001f3f4{_TAGS}].)[{_TAGS}]*"
    "|(?<=\u034f)(?<![\u0590-\u05ff].)|(?<=[\u180b-\u180f])(?<![\u1800-\u18af].)"
    f"|(?<=[{_FILLERS}])(?<![{_KOREAN}].)(?![{_KOREAN}])"
    f"|(?<=[\\s\\dA-Za-z\xc0-\u058f][{_SELECTORS}])(?<![\\d]\ufe0f)|(?<=[{_SELECTORS}][{_SELECTORS}{_MORE_SELECTORS}])"
    f"|(?<=[{_MORE_SELECTORS}])(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff].))",
    re.DOTALL,
)
"""Soft hyphen, zero-width space, word joiner, byte order mark and their like control line breaks, and are not text to
read. Tags spell flags of regions behind a black flag, and hidden messages elsewhere, as selectors of variants do behind
what has none."""
_UNREAD = "".join(
    character
    for first, last in re.findall(
        "(.)(?:-(.))?", f"{_FORMATS}{_SELECTORS}{_FILLERS}{_SHAPING}\u200c\u200d", flags=re.DOTALL
    )
    for character in map(chr, range(ord(first), ord(last or first) + 1))
    if character < FIRST_TAG
)
"""These characters one by one, without those from U+E0000 on."""
_TAGS_IN_UTF8 = b"\xf3\xa0"
"""First bytes of the characters from U+E0000 on."""
_DIRECTION_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_DIRECTIONS = re.compile(f"[{_DIRECTION_MARKS}]")
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_SHAPES_LETTERS = (
    "\u0590-\u109f\u1780-\u18af\u1a20-\u1aaf\ua840-\uabff\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff"
)
"""Scripts in which a joiner or non-joiner decides the shape of a letter: Arabic, Indic and their like."""
_SHAPES_EMOJI = "\u200d\u2190-\u2bff\u3030\u303d\ufe0f\U0001f000-\U0001faff\U000e0020-\U000e007f"
_IDLE_JOINER = re.compile(f"[\u200c\u200d](?<![{_SHAPES_LETTERS}{_SHAPES_EMOJI}].)[\u200c\u200d]*")


def tidy(text: str) -> str:
    """`text` without trailing blanks and runs of empty lines; indentation and blank lines of code stay.

    Soft hyphens, zero-width spaces, word joiners, byte order marks, control characters and their like are removed, and
    so are joiners, selectors of variants and fillers that shape neither a letter nor an emoji, and marks of direction
    if nothing is written from right to left.
    """
    if any(map(text.__contains__, _CONTROLS)):
        text = text.translate(dict.fromkeys(map(ord, _CONTROLS)))
    if not text.isascii():
        text = _readable(text)
    lines = "\n".join(map(str.rstrip, text.replace("\xa0", " ").splitlines()))
    if "\n\n\n" in lines:
        lines = re.sub(r"\n{3,}", "\n\n", lines)
    return lines.replace(BLANK_LINE, "").strip("\n")


def _readable(text: str) -> str:
    # A character is searched for several times as fast as a pattern.
    if any(map(text.__contains__, _UNREAD)) or _TAGS_IN_UTF8 in text.encode(errors="replace"):
        text = _IDLE_JOINER.sub("", _INVISIBLE.sub("", text))
    if any(map(text.__contains__, _DIRECTION_MARKS)) and not _RIGHT_TO_LEFT.search(text):
        text = _DIRECTIONS.sub("", text)
    return text


def without_repeats(text: str, code: Set[str]) -> str:
    """`text` without the lines of at least MIN_REPEATED characters that it has before, marks of lists and quotations
    aside; lines of `code` stay."""
    seen: set[str] = set()
    lines = []
    for line in text.split("\n"):
        words = line.lstrip(_MARKS)
        if len(words) < MIN_REPEATED or words not in seen or line.strip() in code:
            lines.append(line)
            seen.add(words)
    return tidy("\n".join(lines))


def prose(text: str) -> int:
    """Characters of `text` in lines of prose."""
    return sum(len(line) for line in text.split("\n") if len(line) >= LINE_OF_PROSE)
