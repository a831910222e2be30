"""Metadata of installed distributions: name, package URL, licence."""

import hashlib
import re
from importlib.metadata import Distribution


def licence(found: Distribution) -> str | None:
    """SPDX expression, else the licence classifier, else the first line of the free text, else None (PEP 639)."""
    if expression := fields_of(found, "License-Expression"):
        return expression[0]
    classifiers = [line for line in fields_of(found, "Classifier") if line.startswith("License :: ")]
    if classifiers:
        return " AND ".join(line.rpartition(" :: ")[2] for line in classifiers)
    return next(
        (line.strip() for text in fields_of(found, "License") for line in text.splitlines() if line.strip()), None
    )


def fields_of(found: Distribution, name: str) -> list[str]:
    """All values of one field of a distribution's metadata."""
    return [str(value) for value in found.metadata.get_all(name) or []]


def package_url(found: Distribution) -> str:
    """The distribution as a package URL (purl)."""
    return f"pkg:pypi/{normal_name(found.name)}@{found.version}"


def normal_name(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def text_digest(text: str) -> str:
    """sha256 as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
