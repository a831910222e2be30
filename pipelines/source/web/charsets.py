"""Bytes of the web as text, in their real charset, which is not always the declared one."""

import codecs
import re
import unicodedata

import numpy as np
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from arctic_errors import ArcticError

MAX_UNREADABLE_FRACTION = 0.01
"""Share of replacement and control characters above which decoded bytes are no text."""
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    # Before UTF-16, whose mark is the beginning of it.
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_META = re.compile(rb"<meta\s[^<>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml\s[^<>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})", re.IGNORECASE)
_COMMENT = re.compile(rb"<!(?=--).*?(?:-->|\Z)", re.DOTALL)
_HEAD_BYTES = 4096
_WIDE_BYTES = 1024
_MIN_MARKUP_SHARE = 0.02
"""Share of ASCII in text from which a body that decodes as UTF-16 is that: pages have markup and blanks."""
_ENDIAN = ("le", "be")
_LABELS = {"x-mac-cyrillic": "mac-cyrillic", "x-mac-ukrainian": "mac-cyrillic"}
"""Labels of the WHATWG standard that the table at hand lacks."""
_SUPERSETS = {
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso2022_jp": "iso2022_jp_ext",
    "iso8859-11": "cp874",
}
"""Codecs of Python for the WHATWG standard's meaning of a name."""
_JIS = ("euc_jp", "iso2022_jp_ext")
"""Codecs of Python that lack characters of the WHATWG standard's JIS X 0208, which Windows added."""
_JIS_ROWS = 94
_DETECTED = {"koi8-r": "koi8-u"}
"""Where the statistics cannot tell two charsets: KOI8-U has letters in the place of a few lines and corners."""
_SINGLE_BYTE = ("cp125", "cp866", "cp874", "iso8859", "koi8", "mac-")
_MIN_SEQUENCES = 3
"""Sequences of UTF-8 from which valid text is no chance: one or two characters of GBK or EUC may be valid, too."""
_WESTERN = ("cp1252", "iso8859-1", "iso8859-15")
_OTHER_LATIN = ("cp1250", "iso8859-2", "cp1254")
"""Charsets whose letters are as isolated as Western ones; the statistics tell them from enough text."""
_LETTERS = rb"[\x80-\x84\x86-\x90\x98-\x9f\xa1-\xff]"
"""Bytes beyond ASCII except blanks, dashes and quotes, of which Western texts have runs."""
_LETTER, _RUN = re.compile(_LETTERS), re.compile(_LETTERS + b"{3,}")
_MIN_LETTERS = 16
_IN_WORD = re.compile(rb"(?<=[a-z])[\x80-\x91\x93-\x95\x98-\xff](?=[a-z])")
"""Letters beyond ASCII between others, without the apostrophe and the dashes of Windows."""
_MIN_MAC_LETTERS = 4
_MIN_MAC_SHARE = 0.8
"""Share of the letters in words that are in the place of Windows' punctuation, where the Macintosh has its letters."""
_LAST_LETTER_OF_MAC = re.compile(rb"[\xe0-\xfe]\xdf(?![\xc0-\xde])")
"""The last letter of the Russian alphabet after another small one; to Windows, a capital inside a word."""
_OTHER_LETTER = re.compile(rb"\xff|[\xe0-\xfe][\xdc-\xde]")
"""The same letter of Windows, and vowels of Greek."""
_MIN_LAST_LETTERS = 2
_VIETNAMESE_TONE = re.compile(rb"[AEIOUYaeiouy\xc2\xc3\xca\xd4\xd5\xdd\xe2\xe3\xea\xf4\xf5\xfd][\xcc\xd2\xde\xec\xf2]")
"""A vowel with its tone, a character of its own."""
_MIN_TONE_SHARE = 0.2
_SHIFTS_TO_JAPANESE = re.compile(rb"\x1b\$[@B]")
"""The escape sequences of ISO-2022-JP, which is ASCII otherwise."""
_FREQUENT_SYLLABLES = "이다는을의에가고하지은를로도사한기자인서시어대나일리라아정수"
"""The thirty most frequent ones of written Korean."""
_MIN_KOREAN_SHARE = 0.7
_MIN_FREQUENT_SHARE = 0.25


class UndecodablePageError(ArcticError, ValueError):
    """A body that claims to be text and is not text in any charset."""


def decode(body: bytes, content_type: str, *, is_html: bool = True) -> str:
    """`body` as text without its byte order mark, by the charset of the mark, of `content_type`, of the page's meta tag
    or XML declaration, or of the bytes' statistics, the first that fits. Raises UndecodablePageError if none does.

    Bytes that are UTF-8 are read as that: a single-byte charset fits all bytes, which is no evidence, and more than a
    few characters of another charset are never UTF-8. A few are, and then one declaration of UTF-8 decides. A header of
    a Western charset, the default of many servers, yields to a meta tag of another.

    Args:
        body: The bytes.
        content_type: The header, "" if there is none.
        is_html: Whether `body` is a page; plain text declares nothing about itself.
    """
    text = _decode(body, _declared_charsets(body, content_type, is_html), "utf-16" in content_type.lower())
    limit = MAX_UNREADABLE_FRACTION * len(text)
    replaced = text.count("\ufffd")
    # In no charset has the body fewer such bytes than the text such characters, and it is at hand.
    if replaced + _num_controls(body) > limit:
        unreadable = replaced + _num_controls(text.encode())
        if unreadable > limit:
            raise UndecodablePageError(f"undecodable text: {unreadable} of {len(text)} characters are not text")
    return text


def _decode(body: bytes, declared: list[str], is_stated_wide: bool) -> str:
    for mark, charset in _MARKS.items():
        if body.startswith(mark):
            return body[len(mark) :].decode(charset, "replace")
    if wide := _wide_charset(body, is_stated_wide):
        return body.decode(wide, "replace")
    # The bytes themselves show UTF-8 and UTF-16.
    stated = [charset for charset in declared if not charset.startswith("utf")]
    utf8, num_invalid = _as_utf8(body)
    is_utf8 = not num_invalid or _num_beyond_ascii(utf8) > 2 * num_invalid
    fits_by_chance = bool(stated) and "utf-8" not in declared and not stated[0].startswith(_SINGLE_BYTE)
    fits_by_chance = fits_by_chance and (num_invalid > 0 or _num_beyond_ascii(utf8) < _MIN_SEQUENCES)
    if is_utf8 and not fits_by_chance and not body.isascii():
        return utf8
    for charset in _candidates(body, stated):
        text = _read(body, charset)
        if text.count("\ufffd") <= MAX_UNREADABLE_FRACTION * len(text):
            return unicodedata.normalize("NFC", text) if charset == "cp1258" else text
    if is_utf8:
        return utf8
    guessed = _read(body, _detected(body) or "utf-8")
    return min(guessed, utf8, key=lambda text: text.count("\ufffd"))


def _read(body: bytes, charset: str) -> str:
    return body.decode(charset, _of_windows.__name__ if charset in _JIS else "replace")


def _of_windows(error: UnicodeError) -> tuple[str, int]:
    """The character of Windows in a cell of JIS X 0208 that the standard leaves empty, such as ① and ㈱, and
    the position behind it, as an error handler returns them: Shift_JIS packs two rows into one lead byte."""
    assert isinstance(error, UnicodeDecodeError)
    pair = error.object[error.start : error.start + 2]
    row, cell = ((byte & 0x7F) - 0x21 for byte in pair) if len(pair) == 2 else (-1, -1)
    if not (0 <= row < _JIS_ROWS and 0 <= cell < _JIS_ROWS) or (pair[0] ^ pair[1]) & 0x80:
        return "\ufffd", error.end
    lead = row // 2 + (0x81 if row < 62 else 0xC1)
    trail = cell + (0x9F if row % 2 else 0x40 + (cell >= 63))
    try:
        return bytes((lead, trail)).decode("cp932"), error.start + 2
    except UnicodeDecodeError:
        return "\ufffd", error.start + 2


codecs.register_error(_of_windows.__name__, _of_windows)


def _candidates(body: bytes, stated: list[str]) -> list[str]:
    """`stated` and what the bytes show, the most trustworthy first."""
    if stated and stated[0] not in _WESTERN:
        return stated
    if body.isascii():
        return ["iso2022_jp_ext", *stated] if _SHIFTS_TO_JAPANESE.search(body) else stated
    if others := [charset for charset in stated if charset not in _WESTERN]:
        return [*others, *stated]
    if revealed := _revealed(body):
        return [revealed, *stated]
    if stated and len(_LETTER.findall(body)) >= _MIN_LETTERS:
        detected = _detected(body)
        if detected and (detected in _OTHER_LATIN or not _has_isolated_letters(body)):
            return [detected, *stated]
    return stated


def _detected(body: bytes) -> str | None:
    if _is_korean(body.decode("cp949", "replace")):
        return "cp949"
    if revealed := _revealed(body):
        return revealed
    codec = _codec(detect_encoding(body))
    return _DETECTED.get(codec, codec) if codec else None


def _revealed(body: bytes) -> str | None:
    """A charset of the Macintosh or of Vietnamese Windows, which a few bytes at the wrong place for others reveal, and
    the statistics do not know."""
    tones, letters = len(_VIETNAMESE_TONE.findall(body)), len(_LETTER.findall(body))
    if tones >= _MIN_LETTERS and tones >= _MIN_TONE_SHARE * letters and b"\xf0" in body:
        return "cp1258"
    last = len(_LAST_LETTER_OF_MAC.findall(body))
    others = len(_OTHER_LETTER.findall(body))
    if last >= _MIN_LAST_LETTERS and others < last and not _has_isolated_letters(body):
        return "mac-cyrillic"
    inside = _IN_WORD.findall(body)
    small = sum(letter < b"\xa0" and letter.decode("mac-roman").islower() for letter in inside)
    return "mac-roman" if small >= max(_MIN_MAC_LETTERS, _MIN_MAC_SHARE * len(inside)) else None


def _is_korean(text: str) -> bool:
    """Whether a text that was decoded as Korean is plausible as such: a few syllables make up half of real text, and
    bytes of Chinese, Japanese or Cyrillic decode to all the others."""
    letters = [character for character in text if character > "\x7f"]
    syllables = sum("가" <= letter <= "힣" for letter in letters)
    if syllables < max(_MIN_LETTERS, _MIN_KOREAN_SHARE * len(letters)):
        return False
    return sum(map(letters.count, _FREQUENT_SYLLABLES)) >= _MIN_FREQUENT_SHARE * syllables


def _has_isolated_letters(body: bytes) -> bool:
    """Whether the letters beyond ASCII are isolated, as in Western languages; in other scripts most are in runs."""
    return 2 * sum(map(len, _RUN.findall(body))) <= len(_LETTER.findall(body))


def _declared_charsets(body: bytes, content_type: str, is_html: bool) -> list[str]:
    """The charsets of the header, the meta tag and the XML declaration, those that there are."""
    head = _COMMENT.sub(b"", body[:_HEAD_BYTES]) if is_html else b""
    header, inside = _HEADER.search(content_type), (_META.search(head), _XML.match(head))
    labels = [*([header[1]] if header else []), *(match[1].decode("latin-1") for match in inside if match)]
    return [charset for charset in map(_codec, labels) if charset]


def _codec(label: str | None) -> str | None:
    """Python's name of the codec for a label of the web, or None if no browser knows it."""
    if not label:
        return None
    mapped = _LABELS.get(label.lower()) or map_encoding_to_html5(label.replace("latin-", "latin"), fallback_utf8=False)
    return _SUPERSETS.get(mapped, mapped) if mapped else None


def _wide_charset(body: bytes, is_stated: bool) -> str | None:
    """UTF-32, which other bytes never are, or UTF-16 by its ASCII; a little suffices if it is declared."""
    head = body[:_WIDE_BYTES]
    if b"\0" not in head:
        return None
    for order in _ENDIAN:
        if _decoded_head(head, f"utf-32-{order}"):
            return f"utf-32-{order}"
    texts = {f"utf-16-{order}": _decoded_head(head, f"utf-16-{order}") for order in _ENDIAN}
    ascii_counts = {charset: len(text.encode("ascii", "ignore")) for charset, text in texts.items()}
    wide, other = sorted(ascii_counts, key=ascii_counts.__getitem__, reverse=True)
    enough = 0 if is_stated else max(1, _MIN_MARKUP_SHARE * len(texts[wide]))
    # In the wrong order a few frequent characters, such as U+4E00, are ASCII.
    if ascii_counts[wide] <= enough or (ascii_counts[wide] < 2 * ascii_counts[other] and not is_stated):
        return None
    return wide


def _decoded_head(head: bytes, charset: str) -> str:
    """The beginning of a body in `charset`, "" if that gives no text."""
    text = codecs.getincrementaldecoder(charset)("replace").decode(head)
    unreadable = text.count("\ufffd") + _num_controls(text.encode())
    return "" if unreadable > MAX_UNREADABLE_FRACTION * len(text) else text


def _as_utf8(body: bytes) -> tuple[str, int]:
    """`body` decoded as UTF-8, and how many of its sequences are invalid."""
    try:
        return body.decode("utf-8"), 0
    except UnicodeDecodeError:
        text = body.decode("utf-8", "replace")
    return text, text.count("\ufffd")


def _num_beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def _num_controls(text: bytes) -> int:
    """Control characters of ASCII but those that are blanks."""
    codes = np.frombuffer(text, np.uint8)
    low, high = np.count_nonzero(codes < 9), np.count_nonzero(codes - np.uint8(14) < 32 - 14)
    return int(low + high + np.count_nonzero(codes == 127))
