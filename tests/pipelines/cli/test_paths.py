"""Paths on the command line and in recipes: `~`, names that are not UTF-8, and output that nobody reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_recipes import load_recipe
from infra.store import Store, StoreError

LATIN_1 = os.fsdecode(b"caf\xe9")
CORPUS = """
name = "notes"
description = "Notes"
[source]
inputs = [{ kind = "jsonl", paths = ["~/notes/*.jsonl", "a~b.jsonl"] }]
[score]
url_lists = ["~/urls.txt"]
quality_model = "~/model.bin"
[filter]
takedown = ["~/gone.txt", "~nobody-at-all/gone.txt"]
"""


def arctic(home: Path, *options: str, output: int = subprocess.PIPE, **environment: str) -> tuple[int, str]:
    """Exit code and standard error of a command that runs in `home`/work."""
    (home / "work").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *options],
        cwd=home / "work",
        env={**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdout=output,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.returncode, done.stderr.decode(errors="surrogateescape")


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (["runs", "--store=~/results"], {}),
        (["runs", "--store", "~/results"], {}),
        (["runs"], {"ARCTIC_STORE": "~/results"}),
        (["report", "--store=~/results", "--out=~/page.html"], {}),
        (["plan", "~/results"], {}),
        (["export", "~/results", "--to", "huggingface", "--out=~/x"], {}),
    ],
)
def test_a_tilde_leads_home(tmp_path, options, environment):
    code, message = arctic(tmp_path, *options, **environment)
    assert code == 2 and f"{tmp_path}/results" in message and "~" not in message
    assert list((tmp_path / "work").iterdir()) == []


def test_paths_in_recipes_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "notes.toml").write_text(CORPUS)
    recipe = load_recipe(tmp_path / "notes.toml")
    assert recipe.source.inputs[0].paths == ["/home/ann/notes/*.jsonl", "a~b.jsonl"]
    assert (recipe.score.url_lists, recipe.score.quality_model) == (["/home/ann/urls.txt"], "/home/ann/model.bin")
    assert recipe.filter.takedown == ["/home/ann/gone.txt", "~nobody-at-all/gone.txt"]


def test_a_store_whose_path_is_not_utf8_is_refused_before_it_is_made(tmp_path):
    for folder in (tmp_path / LATIN_1, tmp_path / LATIN_1 / "store"):
        with pytest.raises(StoreError, match=r"caf\\xe9.*: its path is not UTF-8, which Ray requires. Rename it"):
            Store(folder)
    assert list(tmp_path.iterdir()) == []
    assert Store(tmp_path / "café").open().root == tmp_path / "café"


@pytest.mark.parametrize("options", [["--help"], ["--version"], ["runs", "--help"], ["doctor"]])
def test_a_reader_that_is_gone_ends_a_command_as_it_ends_other_tools(tmp_path, options):
    reader, writer = os.pipe()
    os.close(reader)
    code, message = arctic(tmp_path, *options, output=writer)
    os.close(writer)
    assert (code, message) == (141, "")
