"""Real text that every machine has: Python sources, package documentation, /usr/share/doc, manual pages."""

import gzip
import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MAX_CHARACTERS = 60_000
MIN_CHARACTERS = 500
FOLDERS = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "/usr/share/doc", "/usr/share/man")
SUFFIXES = {".py", ".md", ".rst", ".txt", ".pyi", ".html", ".gz", ""}


def machine_texts(num_documents: int) -> list[str]:
    """Up to this many different texts, drawn by the digest of their names; texts shorter than 500 characters are left
    out, longer ones cut at 60,000."""
    files = {file for folder in FOLDERS for file in Path(folder).rglob("*") if file.suffix in SUFFIXES}
    texts: dict[bytes, str] = {}
    for file in sorted(files, key=lambda file: hashlib.sha256(str(file).encode()).digest()):
        for text in _read(file):
            texts.setdefault(hashlib.sha256(text.encode()).digest(), text)
        if len(texts) >= num_documents:
            break
    return list(texts.values())[:num_documents]


def _read(file: Path) -> Iterator[str]:
    """The text of a file, or nothing if it is not text: this is a search, not an input."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        text = data.decode()
    except (OSError, EOFError, UnicodeDecodeError):
        return
    if len(text) >= MIN_CHARACTERS and "\0" not in text:
        yield text[:MAX_CHARACTERS]
