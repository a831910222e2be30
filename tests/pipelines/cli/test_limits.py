"""`arctic run --max-hours` and `--max-cost`: the exit code and the last lines show that a limit ended the run."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.errors import OptionError

QUICKSTART = Path(__file__).parents[3] / "data_recipes" / "runs" / "quickstart.toml"

pytestmark = pytest.mark.usefixtures("untracked")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    page = '{ kind = "text_to_sql", num_schemas = 8, num_heldout_schemas = 2, pairs_per_schema = 2, seed = 1 }'
    (tmp_path / "sql.toml").write_text(f'name = "sql"\ndescription = "Few"\n[source]\ninputs = [{page}]\n')
    return tmp_path / "sql.toml"


def test_a_run_at_its_limit_ends_with_code_3_and_the_next_one_builds_the_rest(corpus: Path) -> None:
    arguments = ["run", str(corpus), "--store", str(corpus.parent / "store"), "--until", "source"]
    stopped = CliRunner().invoke(app, [*arguments, "--max-hours", "0"])
    assert stopped.exit_code == 3
    assert "Stopped: --max-hours 0 is reached. Left: source[sql]." in stopped.stdout
    assert "not tried" not in stopped.stdout
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_a_cost_needs_a_price(corpus: Path) -> None:
    arguments = ["run", str(QUICKSTART), "--store", str(corpus.parent / "store"), "--max-cost", "10"]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, OptionError)
    assert "--max-cost 10: the recipe has no price. Set train.price_per_worker_hour" in str(refused.exception)
