"""Files of a repository that nobody wrote by hand there: vendored, generated, minified; and bytes that are no text.

Vendored folders and generated names follow GitHub Linguist (lib/linguist/vendor.yml, generated.rb), limits on lines
Codex (Chen et al. 2021, arXiv 2107.03374, 3.1).
"""

import codecs
import re
from pathlib import PurePosixPath

from arctic_errors import ArcticError

VENDOR_FOLDERS = {
    "node_modules",
    "bower_components",
    "jspm_packages",
    "vendor",
    "vendors",
    "third_party",
    "third-party",
    "thirdparty",
    "3rdparty",
    "3rd_party",
    "3rd-party",
    "extern",
    "external",
    "Godeps",
    "Pods",
    "Carthage",
    "site-packages",
    ".yarn",
    ".tox",
    ".eggs",
    "venv",
    ".venv",
    "virtualenv",
    "dist",
    "deps",
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
}
"""Folders whose files come from elsewhere or were built: dependencies, environments, distributions, version control."""
VENDOR_FILES = re.compile(
    r"(jquery|bootstrap|angular|react|d3|prototype|modernizr|mootools)([-.]\d[\w.-]*)?(\.slim)?\.(js|css)"
    r"|gradlew(\.bat)?|configure|config\.(guess|sub)|ltmain\.sh|aclocal\.m4"
)
GENERATED_FILES = re.compile(
    r".*(_pb2(_grpc)?\.pyi?|\.pb(\.gw)?\.(go|cc|h)|_pb\.(js|d\.ts|rb)|\.g\.dart|\.freezed\.dart|\.designer\.(cs|vb)"
    r"|\.g\.cs|_generated\.(go|rs|h)|zz_generated\..*)"
    r"|package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|.*\.lock|go\.sum|\.pnp\..*",
    re.IGNORECASE,
)
MINIFIED_FILES = re.compile(r".*[-.]min\.(js|mjs|css)")
HEADER_LINES = 10
"""First lines, in which generators leave their mark."""
PROSE = {"Markdown", "reStructuredText", "TeX", "HTML"}
"""Languages in which a paragraph may be one line."""
MAX_MEAN_LINE, MAX_LINE = 100, 1000
"""Characters of the mean and of the longest line above which Codex left a file out."""
MIN_WHITESPACE_SHARE = 0.05
"""Of all characters; hand-written code has 15 % and more, minified code 1 to 3 %."""
MIN_MINIFIED_CHARACTERS = 512
"""Of a file that is judged by its whitespace: a short one can be dense."""
BINARY_BYTES = 8000
"""First bytes in which a NUL makes a file binary (git's buffer_is_binary)."""

_COMMENT = r"^\W{0,12}(?:rem\s+|dnl\s+)?"
_GENERATED = re.compile(
    rf"{_COMMENT}(?:this (?:file|code|is)[^\n]{{0,40}})?\b(?:(?:was|is|has been|been|code|file|automatically)\s+)*"
    r"(?:auto-?\s?|machine[- ])?generated\s+(?:by|from|with|using|code|file|automatically|at|on)\b"
    r"|\b(?:auto|automatically|machine)[- ]?generated\b[^\n]*|@generated\b|\bdo not (?:edit|modify)\b",
    re.IGNORECASE | re.MULTILINE,
)
_COMMENT_LINE = re.compile(r"^\s*(//|/\*|\*|#|--|;|%|<!--|\"\"\"|'''|!|rem\b|dnl\b|\(\*|\{-)", re.IGNORECASE)


class UndecodableCodeError(ArcticError, ValueError):
    """A file that is no text: `reason` is "binary" or "undecodable"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def is_vendored(path: str) -> bool:
    """Whether the file at `path`, inside its repository, was brought from elsewhere."""
    pure = PurePosixPath(path)
    return not VENDOR_FOLDERS.isdisjoint(pure.parts[:-1]) or VENDOR_FILES.fullmatch(pure.name) is not None


def has_generated_name(path: str) -> bool:
    """Whether a file's name is one that generators and package managers give."""
    return GENERATED_FILES.fullmatch(PurePosixPath(path).name) is not None


def decode(content: bytes) -> str:
    """The text of a file in UTF-8, or in the encoding of its byte order mark. Raises UndecodableCodeError."""
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not marked and b"\0" in content[:BINARY_BYTES]:
        raise UndecodableCodeError("binary")
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        raise UndecodableCodeError("undecodable") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_generated(text: str) -> bool:
    """Whether a comment among the first lines marks the file as written by a program."""
    head = (line for line in text[:8192].split("\n")[:HEADER_LINES] if _COMMENT_LINE.match(line))
    return any(_GENERATED.search(line) for line in head)


def is_minified(path: str, language: str, text: str) -> bool:
    """Whether lines or the lack of blanks show that a file is not meant for readers."""
    if MINIFIED_FILES.fullmatch(PurePosixPath(path).name.lower()):
        return True
    if language in PROSE or not text:
        return False
    lines = [len(line) for line in text.splitlines()]
    if max(lines) > MAX_LINE or sum(lines) > MAX_MEAN_LINE * len(lines):
        return True
    return len(text) >= MIN_MINIFIED_CHARACTERS and sum(map(str.isspace, text)) < MIN_WHITESPACE_SHARE * len(text)
