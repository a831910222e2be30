"""Collecting the tests imports no package that only some of them need, so running one test stays quick."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("ray", "mlflow", "deepspeed", "transformers", "openai", "pandas", "scipy", "sklearn", "moto", "fastapi", "trl")
NEED_NO_TORCH = ("data_recipes", "infra", "pipelines/source", "pipelines/filter", "pipelines/dedup", "pipelines/graph")
MAX_SECONDS = 15.0
"""Of a core; 9.4 were measured on two busy ones."""
COLLECT = """
import json, sys, time
import pytest
code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[1:]])
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"code": int(code), "loaded": sorted(loaded), "seconds": time.process_time()}))
"""


def collect(*arguments: str) -> dict[str, object]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", COLLECT, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    collected: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    assert collected["code"] == 0, done.stdout[-3000:]
    return collected


def test_tests_of_recipes_data_and_machines_are_collected_without_torch() -> None:
    collected = collect("--assert=plain", *(f"tests/{folder}" for folder in NEED_NO_TORCH))
    assert {"torch", *HEAVY} & set(collected["loaded"]) == set()


@pytest.mark.slow
def test_all_tests_are_collected_within_seconds_and_without_heavy_packages() -> None:
    collect()  # writes the bytecode
    collected = collect()
    assert set(HEAVY) & set(collected["loaded"]) == set()
    assert collected["seconds"] < MAX_SECONDS
