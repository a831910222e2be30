"""What holds for tests of fine-tuning."""

import pytest


@pytest.fixture(autouse=True)
def of_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training in this process leaves variables of its group of one behind, by which TRL looks for other workers."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
