"""`arctic compile` leaves a run of the whole chain nothing to compile."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import environment, write_recipe


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_compiles_nothing_after_it(tmp_path: Path) -> None:
    kept, recipe = tmp_path / "machine_code", write_recipe(tmp_path)
    _arctic(kept, "compile")
    compiled = _files(kept)
    assert compiled
    _arctic(kept, "run", str(recipe), "--store", str(tmp_path / "store"))
    assert _files(kept) == compiled


def _arctic(kept: Path, *words: str) -> None:
    # numba's variable: beside the sources is machine code that other tests have compiled.
    env = environment() | {"NUMBA_CACHE_DIR": str(kept)}
    done = subprocess.run([sys.executable, "-m", "pipelines.cli", *words], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*.nbc")}
