"""The kernels of a GPU, run by Triton's interpreter, against the implementations of the same operators in torch.

Triton decides when it is imported whether it interprets, so a separate process runs them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.optional import needs

pytestmark = needs("triton", reason="Triton exists on Linux only")


def run(name: str, **environment: str) -> None:
    script = Path(__file__).with_name(name)
    done = subprocess.run(
        [sys.executable, script], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_kernel_computes_what_its_operator_says() -> None:
    run("triton_worker.py", TRITON_INTERPRET="1")


@pytest.mark.slow
def test_every_kernel_compiles_for_the_cards_in_use() -> None:
    """Triton compiles without a GPU: for Ampere, Ada and Hopper."""
    run("triton_compile_worker.py")
