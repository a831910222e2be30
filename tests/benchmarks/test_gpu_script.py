"""The script for a machine with a GPU runs to its end without one: nothing is tried there for the first time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "run.sh"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_part_ends_with_a_result(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": sys.executable}
    command = [str(SCRIPT), "--dry", "--out", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    steps = {name for name in parts if name.startswith("step ")}
    assert {name.split()[-1] for name in steps} == {
        "flat",
        "deepspeed",
        "fp8",
        "fused",
        "eager",
        "compiled",
        "dense",
        "mixtral",
    }
    assert all(parts[name]["tokens_per_s"] > 0 for name in steps)
    assert parts["loss curve"]["last"] < parts["loss curve"]["first"]
    assert parts["overlap real routing"]["equal_bits"] and parts["overlap forced balance"]["equal_bits"]
    assert parts["decode"]["batch 1"]["tokens_per_s"] > 0


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [str(SCRIPT), "--out", str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--dry" in done.stderr.splitlines()[-1]
