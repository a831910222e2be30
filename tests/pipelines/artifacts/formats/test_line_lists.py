"""Lists that users write hold the same entries however their editor saved them."""

import pytest

from pipelines.artifacts.formats.line_lists import list_entries

ENTRIES = ["example.org", "a b\u2028c\x85d\x0be\x0cf\x1cg", "schön"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_entries_are_lines_whatever_ends_them(end, mark):
    text = end.join(["# note\u2028example.com", *ENTRIES, "", " "])
    assert list_entries(mark + text.encode()) == ENTRIES


@pytest.mark.parametrize("content", ["example.org".encode("utf-16"), b"sch\xf6n"])
def test_another_encoding_is_an_error_with_its_mend(content):
    with pytest.raises(ValueError, match="Save it as UTF-8"):
        list_entries(content)
