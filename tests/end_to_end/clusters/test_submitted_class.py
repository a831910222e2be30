"""A class of the user's own goes with the job that `arctic submit` sends."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.kit.servers.ray_head import Head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]
RECIPE = """
name = "notes"
description = "Markdown notes"
[source]
inputs = [{ kind = "own_source:MarkdownNotes", path = "notes", min_characters = 10 }]
heldout_fraction = 0.0
"""


def test_a_source_of_the_users_own_reads_in_the_job(tmp_path):
    project = tmp_path / "project"
    (project / "notes").mkdir(parents=True)
    (project / "notes" / "river.md").write_text("It rose in the night.\n")
    (project / "notes" / "todo.md").write_text("- tea\n")
    (project / "notes.toml").write_text(RECIPE)
    shutil.copy(ROOT / "examples" / "own_source.py", project)
    head = Head(tmp_path)
    try:
        head.wait()
        command = [Path(sys.executable).with_name("arctic"), "submit", "notes.toml", "--address", head.url]
        done = subprocess.run(
            [*command, "--store", str(tmp_path / "store"), "--until", "source"],
            cwd=project,
            env={**os.environ, "RAY_AUTH_TOKEN_PATH": str(head.token_file)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        head.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    files = (tmp_path / "store" / "stages").glob("source/*/documents/*.parquet")
    assert [row["text"] for file in files for row in pq.read_table(file).to_pylist()] == ["It rose in the night.\n"]
