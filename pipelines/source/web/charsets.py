"""Bytes of the web as text, in their real charset, which is not always the declared one."""

import codecs
import re

import numpy as np
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from arctic_errors import ArcticError

MAX_UNREADABLE_FRACTION = 0.01
"""Share of replacement and control characters above which decoded bytes are no text."""
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_META = re.compile(rb"<meta\s[^<>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_META_BYTES = 4096
_WIDE_BYTES = 1024
_MIN_ZERO_FRACTION = 0.2
"""Share of zeros among the bytes at odd or at even positions from which they are markup in UTF-16."""
_SUPERSETS = {"gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}
"""Codecs of Python for the WHATWG standard's meaning of a name."""
_SINGLE_BYTE = ("cp125", "cp866", "iso8859", "koi8", "mac-")


_WESTERN = ("cp1252", "iso8859-1", "iso8859-15")
_LETTERS = rb"[\x80-\x84\x86-\x90\x98-\x9f\xa1-\xff]"
"""Bytes beyond ASCII except blanks, dashes and quotes, of which Western texts have runs."""
_LETTER, _RUN = re.compile(_LETTERS), re.compile(_LETTERS + b"{3,}")
_MIN_LETTERS = 16
_ASCII = bytes(range(128))
_SHIFTS_TO_JAPANESE = re.compile(rb"\x1b\$[@B]")
"""The escape sequences of ISO-2022-JP, which is ASCII otherwise."""
_FREQUENT_SYLLABLES = "이다는을의에가고하지은를로도사한기자인서시어대나일리라아정수"
"""The thirty most frequent ones of written Korean."""
_MIN_KOREAN_SHARE = 0.7
_MIN_FREQUENT_SHARE = 0.25


class UndecodablePageError(ArcticError, ValueError):
    """A body that claims to be text and is not text in any charset."""


def decode(body: bytes, content_type: str) -> str:
    """`body` as text without its byte order mark, by the charset of the mark, of `content_type`, of the page's meta tag
    or of the bytes' statistics, the first that fits. Raises UndecodablePageError if none does.

    A single-byte charset fits all bytes, which is no evidence: bytes that are UTF-8 are read as UTF-8.
    """
    text = _decode(body, content_type)
    limit = MAX_UNREADABLE_FRACTION * len(text)
    replaced = text.count("\ufffd")
    # In no charset has the body fewer such bytes than the text such characters, and it is at hand.
    if replaced + _num_controls(body) > limit:
        unreadable = replaced + _num_controls(text.encode())
        if unreadable > limit:
            raise UndecodablePageError(f"undecodable text: {unreadable} of {len(text)} characters are not text")
    return text


def _decode(body: bytes, content_type: str) -> str:
    for mark, charset in _MARKS.items():
        if body.startswith(mark):
            return body[len(mark) :].decode(charset, "replace")
    if wide := _wide_charset(body, content_type):
        return body.decode(wide, "replace")
    declared = _stated_charsets(body, content_type)
    if not declared and _SHIFTS_TO_JAPANESE.search(body) and not body.lstrip(_ASCII):
        return body.decode("iso2022_jp_ext", "replace")
    utf8, is_utf8 = _as_utf8(body)
    if is_utf8 and all(charset.startswith(_SINGLE_BYTE) for charset in declared[:1]):
        return utf8
    if declared and declared[0] in _WESTERN and not _may_be_western(body):
        detected = _codec(detect_encoding(body))
        declared = [*declared[1:], *([detected] if detected else []), declared[0]]
    for charset in declared:
        text = body.decode(charset, "replace")
        if text.count("\ufffd") <= MAX_UNREADABLE_FRACTION * len(text):
            return text
    if is_utf8:
        return utf8
    korean = body.decode("cp949", "replace")
    if _is_korean(korean):
        return korean
    guessed = body.decode(_codec(detect_encoding(body)) or "utf-8", "replace")
    return min(guessed, utf8, key=lambda text: text.count("\ufffd"))


def _is_korean(text: str) -> bool:
    """Whether a text that was decoded as Korean is plausible as such: a few syllables make up half of real text, and
    bytes of Chinese, Japanese or Cyrillic decode to all the others."""
    letters = [character for character in text if character > "\x7f"]
    syllables = sum("가" <= letter <= "힣" for letter in letters)
    if syllables < max(_MIN_LETTERS, _MIN_KOREAN_SHARE * len(letters)):
        return False
    return sum(map(letters.count, _FREQUENT_SYLLABLES)) >= _MIN_FREQUENT_SHARE * syllables


def _may_be_western(body: bytes) -> bool:
    """Whether the letters beyond ASCII are isolated, as in Western languages; in other scripts most are in runs.

    Servers declare ISO-8859-1 for all content, because that is their default configuration.
    """
    letters = len(_LETTER.findall(body))
    return letters < _MIN_LETTERS or 2 * sum(map(len, _RUN.findall(body))) <= letters


def _stated_charsets(body: bytes, content_type: str) -> list[str]:
    """The charsets of header and meta tag, except UTF-8 and UTF-16, which the bytes themselves show."""
    header, meta = _HEADER.search(content_type), _META.search(body, 0, _META_BYTES)
    labels = [header[1] if header else None, meta[1].decode("latin-1") if meta else None]
    charsets = [_codec(label) for label in labels if label]
    return [charset for charset in charsets if charset and not charset.startswith("utf")]


def _codec(label: str | None) -> str | None:
    """Python's name of the codec for a label of the web, or None if no browser knows it."""
    if not label:
        return None
    mapped = map_encoding_to_html5(label.replace("latin-", "latin"), fallback_utf8=False)
    return _SUPERSETS.get(mapped, mapped) if mapped else None


def _wide_charset(body: bytes, content_type: str) -> str | None:
    """UTF-16 by the zeros that its markup has at every other position; a few suffice if it is declared."""
    head = body[:_WIDE_BYTES]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    is_stated = "utf-16" in content_type.lower()
    enough = 0 if is_stated else _MIN_ZERO_FRACTION * len(head) / 2
    if max(even, odd) <= enough or (4 * min(even, odd) > enough and not is_stated):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _as_utf8(body: bytes) -> tuple[str, bool]:
    """`body` decoded as UTF-8, and whether it is that: more characters beyond ASCII make sense than do not."""
    try:
        return body.decode("utf-8"), True
    except UnicodeDecodeError:
        text = body.decode("utf-8", "replace")
    return text, len(text) - len(text.encode("ascii", "ignore")) > 2 * text.count("\ufffd")


def _num_controls(text: bytes) -> int:
    """Control characters of ASCII but those that are blanks."""
    codes = np.frombuffer(text, np.uint8)
    low, high = np.count_nonzero(codes < 9), np.count_nonzero(codes - np.uint8(14) < 32 - 14)
    return int(low + high + np.count_nonzero(codes == 127))
