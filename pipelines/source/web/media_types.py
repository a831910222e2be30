"""The type of a body by its Content-Type, of which servers send several at times."""

import re
from typing import NamedTuple

_VALUES = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
"""Values of a list whose quoted strings may have commas (RFC 9110, 5.6.1)."""
_TYPE = re.compile(r"\s*([!#$%&'*+.^_`|~\w-]+/[!#$%&'*+.^_`|~\w-]+)\s*(?:;|$)", re.ASCII)
_CHARSET = re.compile(r";\s*charset\s*=\s*(?:\"([^\"]*)\"?|'?([^\s;,'\"]+))", re.IGNORECASE)


class MediaType(NamedTuple):
    """Such as "text/html" in lower case, and the charset's label; each "" if none is stated."""

    essence: str
    charset: str


def media_type(content_type: str) -> MediaType:
    """The type that a browser takes from a Content-Type whose repeated values are joined by commas: the last valid one,
    with the charset that was stated for it (Fetch standard, "extract a MIME type")."""
    essence, charset = "", ""
    for value in _VALUES.findall(content_type):
        match = _TYPE.match(value)
        if not match or match[1] == "*/*":
            continue
        charset_match = _CHARSET.search(value)
        label = (charset_match[1] or charset_match[2] or "") if charset_match else ""
        if match[1].lower() != essence:
            essence, charset = match[1].lower(), label
        else:
            charset = label or charset
    return MediaType(essence, charset)
