"""Extracted text as it is stored: without invisible characters, trailing blanks and runs of empty lines."""

import re

from pipelines.source.web.extraction.code import BLANK_LINE

LINE_OF_PROSE = 100
"""Characters of a line that is prose and no menu, title or cell (jusText's LENGTH_HIGH is 200, LENGTH_LOW 70)."""

_UNREAD = "\xad\u200b\u2060\ufeff\u200c\u200d"
_INVISIBLE = re.compile("[\xad\u200b\u2060\ufeff]")
"""Soft hyphen, zero-width space, word joiner and byte order mark: they control line breaks, and are not text to
read."""
_SHAPES_LETTERS = (
    "\u0590-\u109f\u1780-\u18af\u1a20-\u1aaf\ua840-\uabff\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff"
)
"""Scripts in which a joiner or non-joiner decides the shape of a letter: Arabic, Indic and their like."""
_SHAPES_EMOJI = "\u200d\u2190-\u2bff\u3030\u303d\ufe0f\U0001f000-\U0001faff\U000e0020-\U000e007f"
_IDLE_JOINER = re.compile(f"[\u200c\u200d](?<![{_SHAPES_LETTERS}{_SHAPES_EMOJI}].)[\u200c\u200d]*")


def tidy(text: str) -> str:
    """`text` without trailing blanks and runs of empty lines; indentation and blank lines of code stay.

    Soft hyphens, zero-width spaces, word joiners and byte order marks are removed, and so are joiners and non-joiners
    that shape neither a letter nor an emoji.
    """
    if any(character in text for character in _UNREAD):
        text = _IDLE_JOINER.sub("", _INVISIBLE.sub("", text))
    lines = "\n".join(map(str.rstrip, text.replace("\xa0", " ").splitlines()))
    return re.sub(r"\n{3,}", "\n\n", lines).replace(BLANK_LINE, "").strip("\n")


def prose(text: str) -> int:
    """Characters of `text` in lines of prose."""
    return sum(len(line) for line in text.split("\n") if len(line) >= LINE_OF_PROSE)
