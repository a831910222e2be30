"""A run small enough to be killed and repeated: two corpora, three phases, a model of a few thousand parameters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.artifact import Artifact
from infra.store import Store

KEEP_NEARLY_ALL = """
[filter]
min_words = 5
min_alpha_words_fraction = 0.0
max_mean_word_length = 40.0
min_stop_words = 0
max_symbol_to_word_ratio = 1.0
max_duplicate_line_fraction = 1.0
max_top_4gram_fraction = 1.0
"""
SQL = """
name = "text_to_sql"
description = "Few schemas"
[source]
[[source.inputs]]
kind = "text_to_sql"
num_schemas = 400
num_heldout_schemas = 6
pairs_per_schema = 4
seed = 3
"""
CODE = """
name = "code"
description = "One distribution"
[source]
heldout_fraction = 0.1
inputs = [{ kind = "python_sources", standard_library = false, distributions = ["rich", "typer"] }]
"""
RUN = """
name = "tiny"
description = "Small enough to be killed and repeated"
corpora = ["text_to_sql.toml", "code.toml"]
[tokenizer]
vocab_size = 512
sample_bytes_per_corpus = 100000
[tokenize]
sequence_length = 64
[[phases]]
name = "one"
tokens = 20480
weights = { text_to_sql = 0.5, code = 0.5 }
[[phases]]
name = "two"
tokens = 20480
weights = { text_to_sql = 0.6, code = 0.4 }
[[phases]]
name = "three"
tokens = 20480
weights = { text_to_sql = 0.75, code = 0.25 }
[model]
preset = "tiny"
[train]
num_workers = 2
expert_parallel_size = 2
cpus_per_worker = 0.75
global_batch_sequences = 8
micro_batch_sequences = 4
peak_lr = 0.003
warmup_tokens = 4096
checkpoint_every_steps = 5
[evaluate]
heldout_bytes_per_corpus = 4000
text_to_sql_questions = 6
max_new_tokens = 24
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    return write_recipe(tmp_path)


def write_recipe(folder: Path) -> Path:
    """Write the run recipe and its corpora; gives its path."""
    for name, text in (("text_to_sql", SQL + KEEP_NEARLY_ALL), ("code", CODE + KEEP_NEARLY_ALL), ("tiny", RUN)):
        (folder / f"{name}.toml").write_text(text)
    return folder / "tiny.toml"


def environment() -> dict[str, str]:
    """This process' environment without a cluster of somebody else, and without a terminal."""
    return {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}


@pytest.fixture
def start(tmp_path):
    """Start `arctic` with arguments; its output goes to a file, so that a kill leaves no pipe behind."""
    started = []

    def start(*arguments: object) -> subprocess.Popen:
        output = (tmp_path / f"output-{len(started)}.txt").open("w+")
        command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment(), cwd=tmp_path)
        process.output = Path(output.name)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def arctic(start):
    """Run `arctic` to its end; gives its output, and fails with it if the exit code differs from the expected one."""

    def arctic(*arguments: object, code: int = 0) -> str:
        process = start(*arguments)
        process.wait()
        output = process.output.read_text()
        assert process.returncode == code, output
        return output

    return arctic


@pytest.fixture
def committed():
    """Committed artifacts of a store by stage id."""

    def committed(store: Path) -> dict[str, Artifact]:
        return {artifact.manifest.id: artifact for artifact in Store(store).artifacts()}

    return committed
