"""`arctic prune`, `export-run` and `import-run` on the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra import Stage, run
from pipelines.cli import app

pytestmark = pytest.mark.usefixtures("untracked")


def arctic(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two runs of one name, of a result each."""

    def count(context, inputs):
        (context.out / "count.txt").write_text("1234567890")
        return {}

    for pages in (1, 2):
        run([Stage("count", params={"pages": pages}, work=count, inline=True)], tmp_path / "store")
    return tmp_path / "store"


def test_prune_lists_what_it_would_remove_and_removes_it_when_told(store: Path) -> None:
    assert "0 parts, 0 B; 2 runs keep their results." in arctic("prune", "--store", store)
    listed = arctic("prune", "--store", store, "--last", 1)
    assert "1 parts, 10 B; 1 runs keep their results.\nNothing is removed yet: add --apply." in listed
    assert len(list(store.glob("stages/count/*"))) == 2
    assert "1 parts, 10 B" in arctic("prune", "--store", store, "--last", 1, "--apply")
    assert len(list(store.glob("stages/count/*"))) == 1
    assert "0 parts" in arctic("prune", "--store", store, "--last", 1, "--yes")


def test_a_recipe_keeps_its_results(store: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "sql.toml"
    page = '{ kind = "text_to_sql", num_schemas = 8, num_heldout_schemas = 2, pairs_per_schema = 2, seed = 1 }'
    corpus.write_text(f'name = "sql"\ndescription = "Few"\n[source]\ninputs = [{page}]\n')
    arctic("run", corpus, "--store", store, "--until", "source")
    assert "3 parts" in arctic("prune", "--store", store, "--last", 0)
    listed = arctic("prune", corpus, "--store", store, "--last", 0)
    assert "2 parts" in listed and "source" not in listed


def test_a_run_travels_in_an_archive(store: Path, tmp_path: Path) -> None:
    run_id = next((store / "runs").iterdir()).name
    archive, other = tmp_path / "run.tar", tmp_path / "other"
    assert "1 results" in arctic("export-run", run_id, "--out", archive, "--store", store)
    assert f"{run_id}: 1 results committed" in arctic("import-run", archive, "--store", other)
    assert "0 results committed, 1 were there before" in arctic("import-run", archive, "--store", other)
    assert "No damage." in arctic("verify", "--store", other)


def test_show_ends_with_the_space_that_the_store_takes(store: Path) -> None:
    (store / "mlflow.db").write_bytes(bytes(1000))
    lines = arctic("show", "--store", store).splitlines()
    table = {line.split()[0]: line.split()[1] for line in lines[lines.index("") + 1 :]}
    assert table["results"] == "2" and table["runs"] == "2" and "MLflow" in table
