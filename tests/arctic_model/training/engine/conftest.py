"""Every test of the engine has a group of its process alone."""

import pytest


@pytest.fixture(autouse=True)
def alone(one_worker: None) -> None:
    """Use `one_worker`."""
