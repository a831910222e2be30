"""Files of results: whether they are the same, and damage to one."""

from pathlib import Path

from infra.artifact import Artifact, Manifest
from infra.store import MANIFEST, file_digest


def digests(folder: Path) -> dict[str, str]:
    """The digest of each file below a folder by its path, but not of a manifest, which has times."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != MANIFEST)
    return {str(file.relative_to(folder)): file_digest(file) for file in files}


def flip(file: Path, bit: int) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def artifact(path: Path) -> Artifact:
    """A result at `path`, whose manifest is empty."""
    return Artifact(path, Manifest("", "", "", "", 1, {}, {}, (), {}, (), 0.0, {}))
