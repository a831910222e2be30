"""The peak of a process is its own, however much memory the process had that started it."""

import subprocess
import sys

import numpy as np
import pytest

from arctic_model.peak_memory import peak_resident_bytes

MEGABYTES = 2**20
CHILD = """
import sys
from arctic_model.peak_memory import peak_resident_bytes
held = bytearray(b"x") * int(sys.argv[1])
del held
print(peak_resident_bytes())
"""


@pytest.mark.parametrize("megabytes", [0, 300])
def test_a_process_reports_what_it_held_itself(megabytes: int) -> None:
    held = np.ones(500 * MEGABYTES, np.int8)
    command = [sys.executable, "-c", CHILD, str(megabytes * MEGABYTES)]
    peak = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert peak_resident_bytes() > held.nbytes
    assert megabytes * MEGABYTES < peak < (megabytes + 100) * MEGABYTES
