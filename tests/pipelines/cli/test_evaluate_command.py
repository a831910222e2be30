"""`arctic evaluate` and `arctic eval-data fetch`: mistakes end in one message with its remedy before a cluster starts;
a tiny checkpoint is evaluated with its scores in the store, on the terminal and in MLflow."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from arctic_errors import UserError
from data_recipes import RecipeError
from infra.store import Store
from infra.tracking import tracking_uri
from pipelines.artifacts.comparison import Comparison
from pipelines.artifacts.evaluation import SAMPLES_FILE, Scores
from pipelines.cli import app, main
from pipelines.errors import OptionError
from pipelines.evaluate.data.fetch import fetch_known
from pipelines.evaluate.task import DataError
from pipelines.graph.evaluation import EvaluationOptions, evaluation_graph, missing_data
from pipelines.session import run_graph

TEXTS = [f"Row {number}: SELECT x FROM t WHERE y = {number};" for number in range(50)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer with chat marks, and so with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from pipelines.artifacts.tokenization.tokenizer import CHAT_END, CHAT_START, PAD, write_config

    folder = tmp_path_factory.mktemp("tokenizer")
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    marks = ["<|end|>", PAD, CHAT_START, CHAT_END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    built.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=marks, initial_alphabet=alphabet)
    )
    built.save(str(folder / "tokenizer.json"))
    write_config(built, "<|end|>", folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few thousand parameters with random weights."""
    import torch

    from arctic_model.checkpoint.reading import TrainingState
    from arctic_model.checkpoint.tensors.names import ParameterSlice
    from arctic_model.checkpoint.writing import layout, write_checkpoint
    from arctic_model.model import ArcticModel
    from arctic_model.presets import preset

    folder = tmp_path_factory.mktemp("models") / "toy"
    torch.manual_seed(0)
    model = ArcticModel(preset("tiny", {"max_positions": 256}))
    generator = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.data = torch.from_numpy(generator.normal(0, 0.3, tuple(parameter.shape)).astype(np.float32))
    layers, experts = model.config.num_layers, model.config.num_experts
    state = TrainingState(7, 7168, [[0.0] * experts] * layers, [[0.0] * experts] * layers, 7, [], [], [])
    parts = [ParameterSlice(name, "weight", 0, tensor.detach().view(-1)) for name, tensor in model.named_parameters()]
    write_checkpoint(folder, model.config, state, layout(model, lambda name: ()), parts)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with RACE alone, which is the user's own and so has no pin."""
    options = [[f"{word} {number}" for word in ("stone", "rain", "wind", "sail")] for number in range(6)]
    rows = [
        {
            "example_id": f"own{number}",
            "article": f"Bo saw sail {number}.",
            "problems": str([{"question": "What did Bo see?", "answer": "ABCD"[number % 4], "options": own}]),
        }
        for number, own in enumerate(options)
    ]
    file = tmp_path / "root" / "race" / "test.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": 0}, r"--limit 0: it must be 1 or more. Leave it out for all items"),
        ({"limit": -3}, r"--limit -3: it must be 1 or more"),
        ({"actors": 0}, r"--actors 0: it must be 1 or more"),
        ({"threads": 0}, r"--threads 0: it must be 1 or more"),
        ({"threads": 2, "gpus_per_actor": 1.0}, r"--threads: no checkpoint answers on a CPU. Leave it out"),
        ({"threads": 2, "expert_parallel_size": 2}, r"--threads: each process of --ep has one thread. Leave one"),
        ({"dtype": "stored", "gpus_per_actor": 1.0}, r"--dtype: no checkpoint answers on a CPU. Leave it out"),
        ({"chat": "maybe"}, r"--chat 'maybe': there are never, auto, always. Choose one"),
        ({"chat": "never", "system": "Be brief."}, r"--system: nothing is asked in the chat. Leave out --rescore and"),
        (
            {"chat": "always", "system": "Be brief."},
            r"--system: no --suite is asked in the chat\.",
        ),
        ({"rescore": True, "system": "Be brief.", "tokenizer": None}, r"--system: nothing is asked in the chat"),
        ({"gpus_per_actor": -1.0}, r"--gpus-per-actor -1: it must be 0, for the CPU, or more"),
        ({"unsafe": "yes"}, r"--unsafe 'yes': write 'i accept unsafe execution', in these words, or leave it out"),
        ({"numpy": True}, r"--numpy: no --suite asks for programs. Leave it out, or add humaneval_plus or mbpp_plus"),
        (
            {"suite": ("race", "hellswag")},
            r"--suite: 'hellswag': no such task or suite. There are enterprise, academic, long_context, ",
        ),
        (
            {"suite": ("copa", "piqa")},
            r"--suite: no task has its data. Missing are copa: copa/validation.jsonl.gz; piqa: piqa.*Run: arctic",
        ),
        ({"checkpoints": ()}, r"--model: name either checkpoints or a model behind a server"),
        ({"model": "openai:http://127.0.0.1:1"}, r"--model: name either checkpoints or a model behind a server"),
        ({"rescore": True, "tokenizer": None}, r"--rescore .*toy: not the result of an evaluation. Give a folder of"),
        ({"rescore": True}, r"--rescore: it asks no model. Leave out --against, --tokenizer and --phase"),
        ({"root": Path("no/such/root")}, r"no such folder. Run: arctic eval-data fetch --root no/such/root"),
        ({"checkpoints": (Path("no/such/model"),)}, r"no/such/model: no such folder. Give the folder of a checkpoint"),
        ({"phase": 3}, r"--phase 3: .*toy is no store. Leave it out, or give a store"),
        ({"against": Path("no/such/model")}, r"no/such/model: no such folder. Give the folder of a checkpoint"),
        ({"tokenizer": None}, r"toy: holds no tokenizer.json. Name the folder of the tokenizer as well"),
    ],
)
def test_mistakes_are_told_with_their_mend_before_a_cluster_is_started(
    change: dict[str, object], message: str, checkpoint: Path, tokenizer: Path, root: Path, tmp_path: Path
) -> None:
    fields = {"checkpoints": (checkpoint,), "suite": ("race",), "root": root, "tokenizer": tokenizer} | change
    with pytest.raises(UserError, match=message):
        run_graph(evaluation_graph(EvaluationOptions(**fields)), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_suite_without_files_needs_no_data(checkpoint: Path, tokenizer: Path, tmp_path: Path) -> None:
    options = EvaluationOptions((checkpoint,), ("long_context",), tmp_path / "nowhere", tokenizer=tokenizer)
    assert "evaluate[toy]" in evaluation_graph(options).stages
    assert missing_data(options) == ""


def test_folder_that_is_no_checkpoint_says_what_one_holds(root: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no checkpoint. It holds neither checkpoint\.json .* nor config\.json"):
        evaluation_graph(EvaluationOptions((root,), ("race",), root))


def test_tokenizer_without_the_tokens_that_it_names_is_told(
    checkpoint: Path, tokenizer: Path, root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    config = json.loads((tokenizer / "tokenizer_config.json").read_text()) | {"eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    options = EvaluationOptions((checkpoint,), ("race",), root, tokenizer=folder)
    with pytest.raises(OptionError, match=r"tokenizer_config\.json: does not fit tokenizer\.json \(KeyError\('</s>'\)"):
        evaluation_graph(options)


def test_unknown_file_is_told_with_all_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"gsm8k\.json: no file of the data root. There are .*gsm8k/test\.jsonl"):
        fetch_known(["gsm8k/test.jsonl", "gsm8k.json"], tmp_path, print)


def test_file_that_is_given_out_by_its_owner_alone_is_named_and_nothing_is_asked(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["eval-data", "fetch", "race/test.jsonl", "--root", str(tmp_path)])
    assert done.exit_code == 0
    assert "race/test.jsonl: bring it by hand: " in done.stdout


@pytest.mark.parametrize("error", [RecipeError("--limit 0: it must be 1 or more."), DataError("race: missing. Mend.")])
def test_a_mistake_is_one_line_and_exit_code_two(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("pipelines.graph.evaluation.evaluation_graph", refuse)
    monkeypatch.setattr(sys, "argv", ["arctic", "evaluate", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.slow
def test_a_tiny_checkpoint_is_scored_tracked_and_not_scored_twice(
    checkpoint: Path, tokenizer: Path, root: Path, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval")

    def arctic() -> str:
        command = [sys.executable, "-m", "pipelines.cli", "evaluate", checkpoint, "--tokenizer", tokenizer]
        options = ["--suite", "race", "--suite", "humaneval_plus", "--root", root, "--store", tmp_path / "store"]
        remaining = {
            name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
        }
        done = subprocess.run(
            list(map(str, command + options)), capture_output=True, text=True, env=remaining, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = arctic()
    made, compared, page = (
        next(each for each in Store(tmp_path / "store").artifacts() if each.manifest.name == name)
        for name in ("evaluate", "compare", "evaluation_page")
    )
    assert Comparison.read(compared.path).order == ["toy"]
    assert f"Page: {page.path / 'report.html'}" in first
    assert "<code>acc</code>" in (page.path / "report.html").read_text()
    scores = Scores.read(made.path)
    assert (scores.phase, scores.step, scores.tokens, scores.scores["race/acc"].n) == ("toy", 7, 7168, 6)
    assert "race/acc " in first
    assert "race: lm-evaluation-harness 0.4.13, 0-shot, without a chat template" in first
    assert "NOT MEASURED humaneval_plus: " in first
    assert first.index("Missing are humaneval_plus: humanevalplus/v0.1.10") < first.index("race/acc ")
    assert "missing. Run: arctic eval-data fetch --root" in first
    shown = {name: value for name, value in made.manifest.metrics.items() if name.startswith("eval/race/acc")}
    assert shown["eval/race/acc"] == scores.scores["race/acc"].value

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri(tmp_path / "store"))
    (experiment,) = [result for result in client.search_experiments() if result.name == "evaluate-toy"]
    runs = {run.info.run_name: run.data.metrics for run in client.search_runs([experiment.experiment_id])}
    assert shown.items() <= runs["01 evaluate toy"].items()

    again = arctic()
    assert len(list(Store(tmp_path / "store").artifacts())) == 3
    assert [line for line in again.splitlines() if line.startswith("race/")] == [
        line for line in first.splitlines() if line.startswith("race/")
    ]


def test_rescoring_takes_the_tasks_and_items_that_were_asked(
    checkpoint: Path, tokenizer: Path, root: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    asked = EvaluationOptions((checkpoint,), ("race", "long_passkey"), root, limit=2, tokenizer=tokenizer)
    folder = run_graph(evaluation_graph(asked), store).stages["evaluate[toy]"].path
    again = EvaluationOptions((folder,), (), root, rescore=True)
    assert missing_data(again) == ""
    rescored = run_graph(evaluation_graph(again), store).stages["evaluate[toy-rescored]"].path
    for file in ("scores.json", SAMPLES_FILE):
        assert (rescored / file).read_bytes() == (folder / file).read_bytes()
    fewer = run_graph(evaluation_graph(replace(again, suite=("race",), limit=1)), store)
    assert Scores.read(fewer.stages["evaluate[toy-rescored]"].path).scores["race/acc"].n == 1
    more = run_graph(evaluation_graph(replace(again, suite=("race",), limit=3)), store)
    assert "has no answer to item" in more.failed["evaluate[toy-rescored]"]
