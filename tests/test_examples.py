"""Every example runs as a reader would run it, and prints its result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SLOW = {"run_recipe.py"}
SHOWN = {
    "deduplicate_a_folder.py": ["3 of 4 documents are kept"],
    "follow_events.py": ["source[sql]: done in", "source[sql]: reused", "finished"],
    "load_a_checkpoint.py": ["of them active for each token"],
    "moe_layer_in_a_gpt.py": ["loss"],
    "own_filter_rule.py": ["kept\ndropped: few_links\ndropped: spam"],
    "own_scorer.py": ["'num_links': 2, 'links_per_word': 0.5}", "'num_links': 0, 'links_per_word': 0.0}"],
    "own_source.py": [r"river.md: '# River\n\nIt rose in the night.\n'", "'data/skipped_too_short': 1"],
    "own_stages.py": ["largest: built, {'largest': 997.0}", "largest: reused, {'largest': 997.0}"],
    "own_task.py": ["The capital of France is Paris: correct", "The capital of Japan is Paris: wrong city"],
    "read_packed_tokens.py": ["200 texts in"],
    "run_recipe.py": ["built   report", "eval/bits_per_byte"],
}
"""The expected output of each example, among other lines."""
HIDDEN = {"own_stages.py": ["warning"]}
"""Text that an example must not print."""


def test_every_example_is_known_here() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in sorted(SHOWN)]
)
def test_an_example_runs_and_shows_its_point(name: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in SHOWN[name]:
        assert text in done.stdout
    for text in HIDDEN.get(name, []):
        assert text not in done.stdout
