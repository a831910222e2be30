"""The whole stage on a real, untrained model: its scores are known, and a killed evaluation ends in the same bytes."""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from arctic_model.checkpoint.reading import TrainingState
from arctic_model.checkpoint.tensors.names import ParameterSlice
from arctic_model.checkpoint.writing import layout, write_checkpoint
from arctic_model.inference.streaming import StreamWindow
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from data_recipes.sections.evaluation import EvaluateSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Stage
from infra.store.journal import Journal
from pipelines import evaluate
from pipelines.artifacts.checkpoint import checkpoint_folder
from pipelines.artifacts.evaluation import SAMPLES_FILE, Scores, read_differences
from pipelines.artifacts.questions import write_questions
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.evaluate.data.heldout import ScoredPiece
from pipelines.evaluate.scorer import Scorer, StreamScorer
from pipelines.models.source import ModelSource
from tests.kit.stages import committed, idle_stage

ACCURACY = "text_to_sql/execution_accuracy"
SCRIPT = "CREATE TABLE pets (id INTEGER, name TEXT); INSERT INTO pets VALUES (1, 'Ada'), (2, 'Bo');"


def source(inputs: dict[str, Artifact]) -> ModelSource:
    return ModelSource(checkpoint_folder(inputs["train"].path), inputs["tokenizer"].path)


def stand_in(name: str) -> Stage:
    return idle_stage(name)


@pytest.fixture(scope="module")
def inputs(corpus: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("inputs")
    model = ArcticModel(preset("tiny"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0)
    parts = [ParameterSlice(name, "weight", 0, tensor.detach().view(-1)) for name, tensor in model.named_parameters()]
    layers, experts = model.config.num_layers, model.config.num_experts
    state = TrainingState(7, 7168, [[0.0] * experts] * layers, [[0.0] * experts] * layers, 7, [], [], [])
    locations = layout(model, lambda name: ())
    write_checkpoint(checkpoint_folder(folder / "train"), model.config, state, locations, parts)
    questions = [
        {
            "question_id": f"q{n}",
            "database_id": "pets",
            "prompt": f"CREATE TABLE pets (id, name)\n-- Who has id {n % 2 + 1}?\n",
            "query": f"SELECT name FROM pets WHERE id = {n % 2 + 1};",
            "kind": "filter",
            "difficulty": "easy" if n % 3 else "hard",
        }
        for n in range(6)
    ]
    (folder / "source").mkdir()
    write_questions(questions, [{"database_id": "pets", "script": SCRIPT}], folder / "source")
    return {
        "train": committed(folder / "train"),
        "tokenizer": corpus["tokenizer"],
        "tokens:notes": corpus["tokens"],
        "source:sql": committed(folder / "source"),
    }


def evaluate_stage(questions: int = 4, stream_window: int = 0) -> Stage:
    section = EvaluateSection(
        heldout_bytes_per_corpus=2000,
        text_to_sql_questions=questions,
        max_new_tokens=12,
        stream_window=stream_window,
        stream_sinks=2,
    )
    tokens, asked = {"notes": stand_in("tokenize")}, {"sql": stand_in("source")}
    inputs = evaluate.PhaseInputs(stand_in("train"), stand_in("tokenizer"), tokens, asked)
    return evaluate.stage(2, "code", section, Path("recipes"), inputs)


def run(folder: Path, inputs: dict[str, Artifact], state: Path | None = None) -> tuple[Path, dict]:
    folder.mkdir()
    stage = evaluate_stage()
    metrics = stage.work(StageContext(stage.id, folder, state or folder / "state", [].append), inputs)
    return folder, metrics


@pytest.fixture(scope="module")
def undisturbed(inputs: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    return run(tmp_path_factory.mktemp("undisturbed") / "out", inputs)


def test_untrained_model_knows_nothing_and_answers_nothing(undisturbed: tuple[Path, dict]) -> None:
    out, metrics = undisturbed
    scores = Scores.read(out)
    assert (scores.phase, scores.step, scores.tokens) == ("code", 7, 7168)
    levels = {f"{ACCURACY}/{level}" for level in ("easy", "hard")}
    assert set(scores.scores) == {"bits_per_byte/notes", ACCURACY} | levels
    assert sum(scores.scores[level].n for level in levels) == 4
    accuracy = scores.scores[ACCURACY]
    assert (accuracy.value, accuracy.n, accuracy.low, accuracy.chance) == (0.0, 4, None, 0.0), "too few for an interval"
    assert metrics[f"eval/{ACCURACY}"] == 0.0
    assert f"eval/{ACCURACY}.ci_high" not in metrics
    bits = scores.scores["bits_per_byte/notes"]
    assert metrics["eval/bits_per_byte/notes.ci_high"] == bits.high > bits.value
    assert metrics["eval/bits_per_byte/notes.n"] == scores.scores["bits_per_byte/notes"].n > 1
    assert scores.active_parameters > 0
    samples = pq.read_table(out / SAMPLES_FILE).to_pylist()
    answered = [sample for sample in samples if sample["task"] == "text_to_sql"]
    assert len({sample["item_id"] for sample in answered}) == 4
    assert not any(sample["correct"] for sample in answered)
    assert len(samples) - len(answered) == scores.scores["bits_per_byte/notes"].n
    assert read_differences(out) == {}


def test_bits_per_byte_equals_documents_scored_one_by_one(
    inputs: dict[str, Artifact], undisturbed: tuple[Path, dict]
) -> None:
    tokenizer = TextTokenizer(inputs["tokenizer"].path)
    scorer = Scorer(source(inputs))
    heldout = inputs["tokens:notes"].path / "heldout"
    documents = pq.read_table(heldout / "00000.parquet").to_pylist()
    score = Scores.read(undisturbed[0]).scores["bits_per_byte/notes"]
    selected = sorted({piece["doc_id"] for piece in documents})[: score.n]
    bits, num_bytes = 0.0, 0
    ids = torch.from_numpy(np.fromfile(heldout / "00000.bin", np.uint16).astype(np.int64).reshape(-1, 33))
    for piece in documents:
        if piece["doc_id"] in selected:
            part = ids[piece["sequence"], piece["start"] : piece["start"] + piece["length"]][None]
            inside = part[:, :-1]
            locations = torch.arange(inside.shape[1])[None]
            with torch.inference_mode():
                logits = scorer._model(inside, locations, torch.zeros_like(inside)).double()
            bits += torch.nn.functional.cross_entropy(logits[0], part[0, 1:], reduction="sum").item() / math.log(2)
            num_bytes += tokenizer.bytes_of_id[part[0, 1:].numpy()].sum()
    assert score.value == pytest.approx(bits / num_bytes, rel=1e-6)


@pytest.mark.parametrize("finished", [1, 2])
def test_killed_evaluation_goes_on_and_ends_in_the_same_bytes(
    inputs: dict[str, Artifact],
    undisturbed: tuple[Path, dict],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    finished: int,
) -> None:
    calls: list[int] = []
    real = Journal.add

    def add(journal: Journal, items: dict) -> None:
        if len(calls) == finished:
            raise KeyboardInterrupt
        calls.append(len(items))
        real(journal, items)

    monkeypatch.setattr(Journal, "add", add)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", inputs, tmp_path / "state")
    monkeypatch.undo()
    monkeypatch.setattr(Journal, "add", lambda journal, items: (calls.append(len(items)), real(journal, items)))
    again, metrics = run(tmp_path / "again", inputs, tmp_path / "state")
    assert metrics == undisturbed[1]
    for name in ("scores.json", SAMPLES_FILE):
        assert (again / name).read_bytes() == (undisturbed[0] / name).read_bytes()
    # nothing was done twice
    assert sum(calls) == len((undisturbed[0] / "state" / "items.jsonl").read_text().splitlines())


def test_piece_is_scored_alike_alone_and_beside_others(inputs: dict[str, Artifact]) -> None:
    scorer = Scorer(source(inputs))
    generator = torch.Generator().manual_seed(1)
    pieces = [
        ScoredPiece(str(length), torch.randint(0, 260, (length,), generator=generator).numpy(), length)
        for length in (33, 12, 2, 25)
    ]
    alone = [value for piece in pieces for (value,) in scorer.nll([piece])]
    assert [value for (value,) in scorer.nll(pieces)] == pytest.approx(alone, rel=1e-5)
    assert all(value > 0 for value in alone)


def test_a_stream_reads_whole_documents_in_constant_memory(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    """Of its window: a window over everything gives what a pass over the whole document gives."""
    (tmp_path / "out").mkdir()
    stage = evaluate_stage(0, stream_window=24)
    metrics = stage.work(StageContext(stage.id, tmp_path / "out", tmp_path / "state", [].append), inputs)
    scores = Scores.read(tmp_path / "out")
    streamed = scores.scores["bits_per_byte_streamed/notes"]
    assert metrics["eval/bits_per_byte_streamed/notes"] == streamed.value
    assert scores.protocols["bits_per_byte_streamed"].endswith("the first 2 tokens and the newest 24")

    ids = torch.randint(0, 260, (101,), generator=torch.Generator().manual_seed(2)).numpy()
    piece = ScoredPiece("long", ids, 100)
    whole = Scorer(source(inputs)).nll([piece])[0]
    assert StreamScorer(source(inputs), StreamWindow(120, 4))([piece])[0] == pytest.approx(whole, rel=1e-5)
    assert StreamScorer(source(inputs), StreamWindow(8, 2))([piece])[0] != pytest.approx(whole, rel=1e-5)


def test_the_window_of_the_stream_is_in_the_key_if_there_is_one() -> None:
    assert evaluate_stage().params == evaluate_stage(stream_window=0).params
    assert evaluate_stage().params != evaluate_stage(stream_window=24).params


def test_questions_are_an_input_only_where_they_are_asked() -> None:
    assert set(evaluate_stage(4).inputs) == {"train", "tokenizer", "tokens:notes", "source:sql"}
    assert set(evaluate_stage(0).inputs) == {"train", "tokenizer", "tokens:notes"}


def test_fewer_questions_than_asked_for_are_all_asked_and_said(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    events: list[dict] = []
    (tmp_path / "out").mkdir()
    context = StageContext("evaluate[2]", tmp_path / "out", tmp_path / "state", events.append)
    metrics = evaluate_stage(50).work(context, inputs)
    assert metrics[f"eval/{ACCURACY}.n"] == 6
    assert any("there are only 6" in event.get("message", "") for event in events)


def test_the_checkpoint_before_is_compared_item_by_item(
    inputs: dict[str, Artifact], undisturbed: tuple[Path, dict], tmp_path: Path
) -> None:
    same, _ = run(tmp_path / "same", {**inputs, "previous": committed(undisturbed[0])})
    changes = read_differences(same)
    assert set(changes) == set(Scores.read(same).scores)
    assert all(change.value == 0 and change.is_noise for change in changes.values())
