"""Provenance records the code that ran, cheaply, and a code digest changes with the code and nothing else."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from infra.host import provenance as module
from infra.host.provenance import code_digest, function_digest, git_state, provenance


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package on the import path, and its digest computed again at each call."""
    folder = tmp_path / "stage_under_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "stage.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def digest(name: str = "stage_under_test.stage") -> str:
        code_digest.cache_clear()
        return code_digest(name)

    yield folder, digest
    sys.modules.pop("stage_under_test", None)


def test_it_is_plain_data_with_the_versions_that_are_installed():
    result = json.loads(json.dumps(provenance()))
    assert result["versions"]["ray"] == metadata.version("ray")
    assert result["versions"]["arctic-pretraining"]
    assert result["python"] == ".".join(map(str, sys.version_info[:3]))


def test_it_imports_none_of_the_libraries_that_it_names():
    code = (
        "import sys; from infra.host.provenance import provenance; provenance();"
        "print([n for n in ('ray', 'torch', 'mlflow', 'pyarrow', 'deepspeed') if n in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


def test_code_digest_sees_every_source_of_the_package(package):
    folder, digest = package
    before = digest()
    assert digest("stage_under_test") == before
    (folder / "notes.txt").write_text("not code")
    assert digest() == before
    (folder / "deeper").mkdir()
    (folder / "deeper" / "rules.py").write_text("y = 2\n")
    with_more = digest()
    assert with_more != before
    (folder / "stage.py").write_text("x = 2\n")
    assert digest() not in (before, with_more)


def test_moving_bytes_between_files_changes_the_digest(package):
    folder, digest = package
    (folder / "a.py").write_text("one\n")
    (folder / "b.py").write_text("two\n")
    before = digest()
    (folder / "a.py").write_text("one\ntwo\n")
    (folder / "b.py").write_text("")
    assert digest() != before


def test_a_module_that_does_not_exist_is_named():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        code_digest("no_such_module")


def test_a_function_of_a_script_is_known_by_what_it_does_and_not_by_where_it_stands():
    def digest(source: str, file: str = "script.py") -> str:
        names: dict[str, Any] = {}
        exec(compile(source, file, "exec"), names)
        return function_digest(names["work"])

    own = digest("def work(context):\n    return {name: 1 for name in context}\n")
    assert own == digest("# moved\n\n\ndef work(context):\n    return {name: 1 for name in context}\n", "other.py")
    assert own != digest("def work(context):\n    return {name: 2 for name in context}\n")
    assert own != digest("def work(context):\n    return [name for name in context]\n")


def test_the_code_is_looked_for_in_the_folder_of_the_four_packages():
    assert {"arctic_model", "data_recipes", "infra", "pipelines"} <= {path.name for path in module.ROOT.iterdir()}


def test_git_is_that_of_the_code_and_not_of_a_repository_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    def state_at(folder: Path):
        monkeypatch.setattr(module, "ROOT", folder)
        git_state.cache_clear()
        return git_state()

    monkeypatch.delenv(module.GIT_VARIABLE, raising=False)
    git("init", "-q")
    git("-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "first")
    (tmp_path / "inside").mkdir()
    try:
        assert state_at(tmp_path.resolve())["dirty"] is False
        (tmp_path / "new.py").write_text("")
        assert state_at(tmp_path.resolve())["dirty"] is True
        assert state_at(tmp_path / "inside") is None
        monkeypatch.setenv(module.GIT_VARIABLE, '{"commit": "abc", "dirty": false}')
        assert state_at(tmp_path / "inside") == {"commit": "abc", "dirty": False}
    finally:
        git_state.cache_clear()
