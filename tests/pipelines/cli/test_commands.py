"""The command line as a stranger meets it."""

import gzip
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from pipelines.cli import app, main

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "data_recipes" / "runs" / "quickstart.toml"
ARCTIC_480B = QUICKSTART.with_name("arctic_480b.toml")
COMMANDS = [
    "init",
    "plan",
    "run",
    "replay",
    "ablate",
    "size",
    "show",
    "verify",
    "export-tokens",
    "train-quality",
    "submit",
    "ui",
    "doctor",
]


class Told(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def arctic(monkeypatch, capsys, tmp_path):
    """The command, started in this process in an empty folder: a new one would import everything once more."""

    def command(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["arctic", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Told(ended.value.code, *capsys.readouterr())

    return command


def modules_after(code):
    """Names of the top-level modules that `code` brings in."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_a_command_ends_in_silence_with_triton_loaded():
    """Its bindings report objects that Python did not look through at its end."""
    script = "import sys, triton\nfrom pipelines.cli import main\nsys.argv = ['arctic', '--version']\nmain()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("arctic ")
    assert done.stderr == ""


def test_help_names_every_command_and_each_has_its_own(arctic):
    text = arctic("--help").stdout
    runner = CliRunner()
    for command in COMMANDS:
        assert f"\n  {command} " in text
        own = runner.invoke(app, [command, "--help"])
        assert own.exit_code == 0
        assert "--help" in own.stdout


def test_each_command_has_its_file_and_nothing_else_stands_beside_them():
    """In the folder of its subject; shared parts of commands are in cli/terminal."""
    commands = {command.callback.__module__.rpartition(".")[2] for command in app.registered_commands}
    groups = {group.name.replace("-", "_") for group in app.registered_groups}
    cli = ROOT / "pipelines" / "cli"
    files = {file.stem for file in cli.rglob("*.py") if "terminal" not in file.parts}
    assert files == commands | groups | {"__init__", "__main__"}
    assert {command.name.replace("-", "_") for command in app.registered_commands} == commands


def test_help_imports_nothing_heavy():
    loaded = modules_after("from pipelines.cli import app; app(['--help'])")
    assert not loaded & {"ray", "torch", "mlflow", "pyarrow", "numpy", "pydantic", "deepspeed"}


def test_plan_imports_neither_ray_nor_torch_nor_mlflow(tmp_path):
    arguments = ["plan", str(QUICKSTART), "--store", str(tmp_path)]
    loaded = modules_after(f"from pipelines.cli import app; app({arguments})")
    assert "pyarrow" in loaded
    assert not loaded & {"ray", "torch", "mlflow", "deepspeed", "datasketch"}


def test_plan_of_the_quickstart_is_the_graph_of_the_chain(arctic, tmp_path):
    lines = arctic("plan", QUICKSTART, "--store", tmp_path).stdout.splitlines()
    ids = [line.split()[0] for line in lines if " build " in line]
    corpora = ("python_docs", "python_code", "text_to_sql", "sql_chat")
    names = ("source", "score", "filter", "dedup", "tokenize")
    assert [stage for stage in ids if "[python_docs]" in stage] == [f"{name}[python_docs]" for name in names]
    expected = {f"{name}[{corpus}]" for name in names for corpus in corpora}
    expected |= {f"{name}[{number}]" for name in ("mix", "train", "evaluate") for number in (1, 2, 3)}
    expected |= {f"{name}[instruct]" for name in ("mix", "finetune", "evaluate")}
    assert set(ids) == expected | {"tokenizer", "export[huggingface]", "report"}
    assert lines[-1] == f"{len(ids)} stages: 0 to reuse, {len(ids)} to build."
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "gone.toml"], "error: gone.toml: no such recipe"),
        (["plan", QUICKSTART, "--set", "train.lr=1"], "train.lr = 1: unknown field"),
        (["plan", QUICKSTART, "--set", 'model.preset="huge"'], "model.preset = 'huge': no such preset"),
        (["plan", QUICKSTART, "--set", "train.zero_stage=0", "--set", 'train.dtype="bfloat16"'], "no float32 master"),
        (["plan", QUICKSTART, "--set", 'train.gradient_dtype="bfloat16"'], "gradients of float32 are float32"),
        (
            ["plan", QUICKSTART, "--set", "model.overrides.num_experts=9"],
            "= 2 does not divide model.overrides.num_experts = 9",
        ),
        (
            ["plan", QUICKSTART, "--set", "model.overrides.max_positions=99"],
            "than model.overrides.max_positions = 99",
        ),
        (["run", QUICKSTART, "--until", "trian"], "error: --until trian: no such stage. The stages are source"),
        (["run", QUICKSTART, "--only", "evaluate*"], "error: --only leaves out source["),
        (["run", QUICKSTART, "--store", "/proc/arctic"], "error: store /proc/arctic: cannot write there"),
        (["show", "stages"], "/store: nothing there. Run a recipe first"),
        (["ui"], "/store: nothing there. Run a recipe first"),
        (["ui", "--port", "80000"], "Invalid value for '--port'"),
        (["ui", "--port", "-1"], "Invalid value for '--port'"),
        (["init", "gone"], "error: gone: no such file or folder"),
        (["init", "."], "error: .: no WARC, JSON Lines, Parquet, text or HTML files, or code"),
        (["plan", os.devnull], "error: /dev/null: empty. Write a recipe, or draft one with `arctic init`"),
        (["replay", QUICKSTART, "--until", "source"], "nothing to compare with: source[python_docs], "),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(arctic, arguments, message):
    done = arctic(*arguments)
    assert done.exit_code == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("only", ["evaluate*", "trian"])
def test_a_refused_run_leaves_no_store_behind(arctic, tmp_path, only):
    store = tmp_path / "new"
    assert arctic("run", QUICKSTART, "--only", only, "--store", store).exit_code == 2
    assert not store.exists()
    # One that was there stays as it is.
    store.mkdir()
    assert arctic("run", QUICKSTART, "--only", only, "--store", store).exit_code == 2
    assert store.is_dir()


def test_the_version_is_printed(arctic):
    done = arctic("--version")
    assert done.exit_code == 0
    assert done.stdout.split() == ["arctic", metadata.version("arctic-pretraining")]


def test_evaluation_data_is_listed_with_its_state(arctic, tmp_path):
    name = "humaneval/HumanEval.jsonl.gz"
    lines = {line.split()[0]: line for line in arctic("eval-data", "list", "--root", tmp_path).stdout.splitlines()}
    assert lines[name].split()[1:4] == ["missing", "164", "MIT"]
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(gzip.compress(b"{}"))
    lines = {line.split()[0]: line for line in arctic("eval-data", "list", "--root", tmp_path).stdout.splitlines()}
    assert "other version" in lines[name]


def test_the_published_curriculum_is_simulated_before_there_is_a_token(arctic, tmp_path):
    sizes = {"common_crawl": "3e12", "repositories": "6e11", "stem": "2e11", "wikipedia": "2e10", "text_to_sql": "4e10"}
    assumed = [part for name, tokens in sizes.items() for part in ("--assume", f"{name}={tokens}")]
    reported = arctic("plan", ARCTIC_480B, "--mix", *assumed, "--store", tmp_path)
    assert reported.exit_code == 0, reported.stderr
    assert (
        "1 - 59,600" in reported.stdout and "wikipedia" in reported.stdout and "mixture over tokens" in reported.stdout
    )
    assumed[assumed.index("wikipedia=2e10")] = "wikipedia=1e9"
    refused = arctic("plan", ARCTIC_480B, "--mix", *assumed, "--store", tmp_path)
    assert refused.exit_code == 2
    assert "phase general asks corpus wikipedia for" in refused.stderr and "max_epochs" in refused.stderr


def test_the_size_of_a_run_is_told_without_starting_anything(arctic):
    reported = arctic("size", ARCTIC_480B, "--gpus", 1024, "--ep", 128)
    assert "478,584,608,768 parameters" in reported.stdout and "Fits: " in reported.stdout
    refused = arctic("size", ARCTIC_480B, "--gpus", 1024, "--ep", 96)
    assert refused.exit_code == 2 and "= 96 does not divide train.num_workers = 1024" in refused.stderr
