"""A run that reads a presigned address keeps its signature in no file of the store and shows it nowhere."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.events import read_events
from tests.kit.servers.serving import serving

SECRET = "Zx9secretValue"
SENTENCE = "Row {0} says that the water of the river number {0} is deep, and that it has fish of {0} kinds in it."
CORPUS = """
name = "web"
description = "Rows behind a presigned address"
[source]
heldout_fraction = 0.2
inputs = [{{ kind = "jsonl", paths = ["{url}"] }}]
[filter]
min_words = 1
min_stop_words = 0
[dedup]
jaccard_threshold = 0.95
"""
RUN = """
name = "small"
description = "One phase"
corpora = ["web.toml"]
[tokenizer]
vocab_size = 384
sample_bytes_per_corpus = 100000
[tokenize]
sequence_length = 64
[mix]
max_epochs = 100.0
[[phases]]
name = "one"
tokens = 1280
weights = { web = 1.0 }
[model]
preset = "tiny"
[train]
num_workers = 1
global_batch_sequences = 4
micro_batch_sequences = 4
peak_lr = 0.01
checkpoint_every_steps = 5
[evaluate]
heldout_bytes_per_corpus = 2000
text_to_sql_questions = 0
"""


class Handler(BaseHTTPRequestHandler):
    """Gives rows to who has the signature; a name with "closed" is refused after it was looked up."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        is_lookup = self.headers.get("Range") == "bytes=0-0"
        allowed = f"X-Amz-Signature={SECRET}" in self.path and ("closed" not in self.path or is_lookup)
        rows = [json.dumps({"text": SENTENCE.format(number)}) for number in range(60)]
        body = "\n".join(rows).encode() if allowed else b""
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"one"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


def write_recipe(folder: Path, url: str) -> Path:
    signed = f"{url}?X-Amz-Credential={SECRET}&X-Amz-Expires=600&X-Amz-Signature={SECRET}"
    (folder / "web.toml").write_text(CORPUS.format(url=signed))
    (folder / "small.toml").write_text(RUN)
    return folder / "small.toml"


def files_with_the_secret(store: Path) -> list[str]:
    files = [file for file in sorted(store.rglob("*")) if file.is_file()]
    assert store / "mlflow.db" in files
    return [str(file.relative_to(store)) for file in files if SECRET.encode() in file.read_bytes()]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_file_of_a_run_has_the_signature(address: str, arctic, committed, tmp_path: Path):
    recipe, store = write_recipe(tmp_path, f"{address}/rows.jsonl"), tmp_path / "store"
    output = arctic("run", recipe, "--store", store)
    assert {"source[web]", "train[1]", "report"} <= committed(store).keys()
    assert SECRET not in output
    assert files_with_the_secret(store) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nor_has_any_of_a_run_that_is_refused(address: str, arctic, tmp_path: Path):
    recipe, store = write_recipe(tmp_path, f"{address}/closed.jsonl"), tmp_path / "store"
    output = arctic("run", recipe, "--store", store, code=1)
    assert "403" in output and "X-Amz-Signature=***" in output
    assert SECRET not in output
    (run,) = (store / "runs").iterdir()
    assert [event["stage"] for event in read_events(run) if event["event"] == "stage_failed"] == ["source[web]"]
    assert files_with_the_secret(store) == []
