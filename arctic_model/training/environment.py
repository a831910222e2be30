"""Environment variables that libraries of distributed training read, set for as long as they are read.

A process that trained continues with other work: leftovers of a group in its environment make the next library
(accelerate, TRL) look for workers that are gone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set `variables` inside the `with`; after it each is as it was before, absent or not. Others are left alone, as
    other threads may set them meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
