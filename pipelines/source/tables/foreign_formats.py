"""Formats that files of rows turn out to have, by the bytes at their start."""

import re

HEAD_BYTES = 512
"""As many bytes as show each format."""
_FORMATS = {
    "xz": (rb"\xfd7zXZ\0", "unpack the file: xz -dc FILE > NEW"),
    "lzip": (rb"LZIP", "unpack the file: lzip -dc FILE > NEW"),
    "lz4": (rb"[\x02\x04]\x22\x4d\x18", "unpack the file: lz4 -dc FILE > NEW"),
    "snappy": (rb"\xff\x06\0\0sNaPpY", "unpack the file: snzip -dc FILE > NEW"),
    "compress": (rb"\x1f[\x9d\xa0]", "unpack the file: gzip -dc FILE > NEW"),
    "gzip": (rb"\x1f\x8b", "unpack the file: gzip -dc FILE > NEW"),
    "zstd": (rb"\x28\xb5\x2f\xfd", "unpack the file: zstd -dc FILE > NEW"),
    "bz2": (rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)", "unpack the file: bzip2 -dc FILE > NEW"),
    "zip": (rb"PK(?:\x03\x04|\x05\x06|\x07\x08)", "unpack the file: unzip -p FILE > NEW"),
    "7z": (rb"7z\xbc\xaf\x27\x1c", "unpack the file: 7z e -so FILE > NEW"),
    "RAR": (rb"Rar!\x1a\x07", "unpack the file: unrar p -inul FILE > NEW"),
    "tar": (rb"(?s:.{257})ustar", "take out its files: tar -xf FILE"),
    "Parquet": (rb"PAR[1E]", 'rename the file to end in .parquet, and set kind = "parquet"'),
    "Arrow": (rb"ARROW1\0\0", "write its table as Parquet"),
    "ORC": (rb"ORC", "write its table as Parquet"),
    "Avro": (rb"Obj\x01", "write its records as Parquet"),
    "SQLite": (rb"SQLite format 3\0", "write its table as Parquet"),
    "HDF5": (rb"\x89HDF\r\n\x1a\n", "write its table as Parquet"),
    "NumPy": (rb"\x93NUMPY", "write its arrays as Parquet"),
    "PDF": (rb"%PDF-", "write its text as JSON Lines"),
}
"""The bytes at the start of each, and its remedy."""


def foreign_format(head: bytes, expected: str, packing: str = "") -> str | None:
    """The fault and its remedy if `head`, the first bytes of a file or of the `packing` in it, are of another format
    than `expected`; None if they are of none that is known here."""
    found = next(((name, remedy) for name, (magic, remedy) in _FORMATS.items() if re.match(magic, head)), None)
    if not found or found[0] == expected:
        return None
    name, remedy = found
    inside, first = (f" inside {packing}", f"unpack the {packing} layer, then ") if packing else ("", "")
    return f"{name}{inside}, and not {expected}. To mend it, {first}{remedy}"
