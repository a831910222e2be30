"""Training that is interrupted, in this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from pipelines.train.data import PhaseBatches


@contextmanager
def interrupted_before(step: int, times: int = 1) -> Iterator[None]:
    """Inside, training is interrupted when it asks for the data of `step`, `times` times; the block must end by
    that."""
    read, asked_for = PhaseBatches.__call__, Counter[int]()

    def stops(batches: PhaseBatches, asked: int) -> list[Any]:
        asked_for[asked] += 1
        if asked_for[step] == times:
            raise KeyboardInterrupt
        return read(batches, asked)

    with patch.object(PhaseBatches, "__call__", stops), pytest.raises(KeyboardInterrupt):
        yield
