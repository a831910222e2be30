"""`arctic verify`: names damage, removes it if asked, and its exit code shows whether some is left."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.artifact import Artifact
from infra.store import Store
from pipelines.cli import app
from tests.kit.stages import idle_stage


@pytest.fixture
def results(tmp_path: Path) -> list[Artifact]:
    store = Store(tmp_path / "store").open()
    made = []
    for name in ("source", "filter"):
        stage = idle_stage(name, "web")
        scratch = store.scratch(stage)
        (scratch / "data.txt").write_text("as committed")
        made.append(store.commit(stage, scratch, metrics={}, quarantined=[], seconds=1.0, provenance={}, shards={}))
    return made


def verify(results: list[Artifact], *arguments: str) -> tuple[int, str]:
    store = results[0].folder.parents[2]
    result = CliRunner().invoke(app, ["verify", *arguments, "--store", str(store)], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout


def test_intact_results_are_listed_with_their_sizes(results: list[Artifact]) -> None:
    code, output = verify(results)
    assert code == 0
    assert f"ok      source[web] {results[0].manifest.key}: 1 files, 12 bytes" in output
    assert output.strip().endswith("No damage.")


def test_damage_is_named_and_the_exit_code_is_1_until_it_is_dropped(results: list[Artifact]) -> None:
    (results[0].folder / "data.txt").write_text("as cOmmitted")
    code, output = verify(results)
    assert code == 1
    assert f"DAMAGED source[web] {results[0].manifest.key}: data.txt" in output
    assert "ok      filter[web]" in output
    assert verify(results, "filter[web]")[0] == 0
    assert verify(results, "source", "--drop")[0] == 0
    assert not results[0].folder.exists()
    code, output = verify(results)
    assert code == 0 and "source" not in output
