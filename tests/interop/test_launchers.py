"""SkyPilot's own loader reads our task: it needs a separate environment (`make interop`)."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop
ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "build" / "interop" / "skypilot" / "bin" / "python"
LOAD = """
import sys, sky
task = sky.Task.from_yaml(sys.argv[1])
print(task.num_nodes, sorted(str(each.cloud) for each in task.resources), all(each.use_spot for each in task.resources))
"""


def load(file: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    return subprocess.run([PYTHON, "-c", LOAD, str(file)], env=environment, cwd=home, capture_output=True, text=True)


def test_skypilot_reads_the_task(tmp_path: Path) -> None:
    done = load(ROOT / "infra" / "skypilot" / "run.yaml", tmp_path)
    assert done.stdout == "1 ['AWS', 'Azure', 'GCP'] True\n", done.stderr


def test_skypilot_refuses_a_typo(tmp_path: Path) -> None:
    text = (ROOT / "infra" / "skypilot" / "run.yaml").read_text().replace("use_spot:", "use_spott:")
    (tmp_path / "run.yaml").write_text(text)
    done = load(tmp_path / "run.yaml", tmp_path)
    assert done.returncode != 0 and "use_spott" in done.stderr
