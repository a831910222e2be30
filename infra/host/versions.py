"""Versions of installed distributions."""

from importlib import metadata


def version(distribution: str) -> str | None:
    """Installed version, read from metadata without importing the package; None if it is missing."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
