"""Freed memory is reused instead of requested from the kernel page by page."""

import subprocess
import sys

import pytest

BLOCKS = """
import resource, sys
from arctic_model.training.process import reuse_freed_memory
if sys.argv[1] == "reused":
    reuse_freed_memory()
faults = []
for _ in range(9):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(b"x") * (64 * 2**20)
    del block
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[1:]))
"""


def page_faults(how: str) -> int:
    """Of eight blocks of 64 MiB, each made and freed, after a first one."""
    done = subprocess.run([sys.executable, "-c", BLOCKS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_a_block_that_was_freed_costs_no_page_fault_the_next_time() -> None:
    assert page_faults("reused") <= page_faults("returned") / 100
