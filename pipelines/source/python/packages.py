"""Metadata of installed distributions: name, package URL, licence."""

import hashlib
import re
from importlib.metadata import Distribution


def licence(installed: Distribution) -> str | None:
    """SPDX expression, else the licence classifier, else the first line of the free text, else None (PEP 639)."""
    if expression := fields_of(installed, "License-Expression"):
        return expression[0]
    classifiers = [line for line in fields_of(installed, "Classifier") if line.startswith("License :: ")]
    if classifiers:
        return " AND ".join(line.rpartition(" :: ")[2] for line in classifiers)
    return next(
        (line.strip() for text in fields_of(installed, "License") for line in text.splitlines() if line.strip()), None
    )


def fields_of(installed: Distribution, name: str) -> list[str]:
    """All values of one field of a distribution's metadata."""
    return [str(value) for value in installed.metadata.get_all(name) or []]


def package_url(installed: Distribution) -> str:
    """The distribution as a package URL (purl)."""
    return f"pkg:pypi/{normal_name(installed.name)}@{installed.version}"


def normal_name(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def text_digest(text: str) -> str:
    """sha256 as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
