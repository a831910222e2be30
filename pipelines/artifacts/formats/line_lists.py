"""Lists that users write, one entry a line."""

import codecs

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def list_lines(content: bytes) -> list[str]:
    """The lines of a list in UTF-8, with or without a byte order mark, ended by LF, CRLF or CR and by nothing else:
    other separators of Unicode belong to an entry. Raises ValueError if it is in another encoding."""
    if content.startswith(_WIDE_MARKS):
        raise ValueError("in UTF-16. Save it as UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8. Save it as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def list_entries(content: bytes) -> list[str]:
    """The entries of a list; empty lines and lines from `#` on are passed over. Raises ValueError."""
    lines = (line.strip() for line in list_lines(content))
    return [line for line in lines if line and not line.startswith("#")]
