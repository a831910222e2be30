"""Training that is interrupted, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from pipelines.train.data import PhaseBatches


@contextmanager
def interrupted_before(step: int) -> Iterator[None]:
    """Inside, training is interrupted when it asks for the data of `step`; the block must end by that."""
    read = PhaseBatches.__call__

    def stops(batches: PhaseBatches, asked: int) -> list[Any]:
        if asked == step:
            raise KeyboardInterrupt
        return read(batches, asked)

    with patch.object(PhaseBatches, "__call__", stops), pytest.raises(KeyboardInterrupt):
        yield
