"""What holds for tests of fine-tuning."""

import pytest


@pytest.fixture(autouse=True)
def of_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed leaves the variables of a group of one behind, by which TRL would look for its other workers."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
