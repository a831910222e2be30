"""Ray for the tests of one file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from infra.cluster.connection import connect


@contextmanager
def local_ray(num_cpus: int) -> Iterator[None]:
    """As the product starts it: with a token and on loopback alone, for this process. Other tests keep their
    environment."""
    with mock.patch.dict(os.environ), connect("local", num_cpus=num_cpus):
        yield
