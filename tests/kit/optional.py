"""Marks of tests that need a package that need not be installed, without importing it while tests are collected."""

from importlib.util import find_spec

import pytest


def needs(package: str, reason: str = "") -> pytest.MarkDecorator:
    """Skips a test if `package` is not installed. Tests import it when they use it: collecting them stays quick."""
    return pytest.mark.skipif(find_spec(package) is None, reason=reason or f"{package} is not installed")
