"""Each of two compared checkpoints has its own tokenizer; if they were asked in different ways there is no change, but
a sentence."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.artifacts.evaluation import Score, Scores, write_differences
from pipelines.cli.terminal.tables.scores import print_scores
from pipelines.errors import OptionError
from pipelines.evaluate.asking.tokenizer_fit import require_fit
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.evaluation import asked_otherwise, differences
from pipelines.evaluate.suites import Suite
from pipelines.graph import evaluation
from pipelines.graph.evaluation import EvaluationOptions, evaluation_graph
from pipelines.models.loading import load_codec
from pipelines.models.source import ModelSource

pytestmark = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
PROTOCOL = "5-shot, in the chat template; chat template 0123456789ab; answers end after 64 tokens"


def changed(source: ModelSource, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the tokenizer of `source` with `change` made to its tokenizer.json."""
    shutil.copytree(source.tokenizer_folder, folder)
    page = json.loads((folder / "tokenizer.json").read_text())
    change(page)
    (folder / "tokenizer.json").write_text(json.dumps(page))
    return folder


def swap_two(page: dict[str, Any]) -> None:
    vocab = page["model"]["vocab"]
    first, second = (token for token, number in vocab.items() if number in (100, 101))
    vocab[first], vocab[second] = vocab[second], vocab[first]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, our_model: ModelSource) -> Path:
    """A Hugging Face folder with its own tokenizer and no more ids than that has."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(our_model.tokenizer_folder / name, folder)
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    config = LlamaConfig(
        vocab_size=max(vocab.values()) + 1,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path | None]]:
    """Checkpoint and named tokenizer of each stage that an order makes; nothing is run."""
    result: list[tuple[Path, Path | None]] = []

    def record(label: str, checkpoint: Path, tokenizer: Path | None, *_: object) -> Any:
        result.append((checkpoint, tokenizer))
        if len(result) == 2:
            raise ValueError("enough")
        return None

    monkeypatch.setattr(evaluation.evaluate, "checkpoint_stage", record)
    return result


@pytest.mark.parametrize("tokenizer", [None, "mine"])
@pytest.mark.parametrize("other", [None, "theirs"])
def test_a_tokenizer_is_that_of_one_side(
    tokenizer: str | None,
    other: str | None,
    staged: list[tuple[Path, Path | None]],
    tmp_path: Path,
) -> None:
    for name in ("new", "old", "root", "mine", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "root" / "race").mkdir()
    (tmp_path / "root" / "race" / "test.jsonl").write_text("")
    own, against = (tmp_path / name if name else None for name in (tokenizer, other))
    options = EvaluationOptions(
        (tmp_path / "new",),
        ("race",),
        tmp_path / "root",
        against=tmp_path / "old",
        tokenizer=own,
        against_tokenizer=against,
    )
    with pytest.raises(OptionError, match="enough"):
        evaluation_graph(options)
    assert staged == [(tmp_path / "old", against), (tmp_path / "new", own)]


def test_a_tokenizer_for_nobody_is_refused(tmp_path: Path) -> None:
    options = EvaluationOptions((tmp_path,), ("race",), tmp_path, against_tokenizer=tmp_path)
    with pytest.raises(OptionError, match="--against-tokenizer: there is no --against"):
        evaluation_graph(options)


def test_the_tokenizer_of_the_model_fits_whoever_made_the_model(our_model: ModelSource, llama: Path) -> None:
    require_fit(our_model, None)
    require_fit(our_model, our_model.tokenizer_folder)
    require_fit(ModelSource(llama), None)
    require_fit(ModelSource(llama, our_model.tokenizer_folder), None)


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_tokenizer_whose_ids_mean_other_tokens_is_refused(
    is_ours: bool, our_model: ModelSource, llama: Path, tmp_path: Path
) -> None:
    """The same number of ids, so that the size of the vocabulary shows nothing."""
    other = changed(our_model, tmp_path / "other", swap_two)
    source = ModelSource(our_model.checkpoint if is_ours else llama, other)
    with pytest.raises(ValueError, match=r"other: the id 100 is .*, which is .* in .*, the tokenizer of"):
        require_fit(source, our_model.tokenizer_folder if is_ours else None)


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_tokenizer_with_more_ids_than_the_model_is_refused(
    is_ours: bool, our_model: ModelSource, llama: Path, tmp_path: Path
) -> None:
    def grow(page: dict[str, Any]) -> None:
        page["model"]["vocab"]["some new token"] = 5000

    other = changed(our_model, tmp_path / "other", grow)
    source = ModelSource(our_model.checkpoint if is_ours else llama, other)
    with pytest.raises(ValueError, match=r"'some new token' has the id 5000, which is beyond the \d+ ids of"):
        require_fit(source, None)


def test_an_added_token_beyond_the_vocabulary_stops_only_a_text_that_holds_it(llama: Path, tmp_path: Path) -> None:
    """Many public models have one for padding, without a row in the embedding."""
    from transformers import AutoTokenizer

    folder = tmp_path / "padded"
    shutil.copytree(llama, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    tokenizer.save_pretrained(folder)
    source = ModelSource(folder)
    require_fit(source, None)
    codec = load_codec(source)
    assert codec.encode("Row 1")
    with pytest.raises(ValueError, match=r"a text holds '<padding>', whose id \d+ is beyond the \d+"):
        codec.encode("Row <padding>")


def row(
    task: str = "piqa", item: str = "1", prompt: str = "Say", gold: str = "so", right: float = 1.0
) -> dict[str, Any]:
    shares = json.dumps({"acc": [right, 1.0]})
    return {"task": task, "item_id": item, "prompt": prompt, "gold": gold, "cluster": "", "shares": shares}


@pytest.mark.parametrize(
    "before",
    [
        PROTOCOL.replace("5-shot", "0-shot"),
        PROTOCOL.replace("in the chat template; chat template 0123456789ab", "without a chat template"),
        PROTOCOL.replace("0123456789ab", "ba9876543210"),
        PROTOCOL.replace("64 tokens", "128 tokens"),
        PROTOCOL.replace("; answers end after 64 tokens", ""),
    ],
)
def test_another_protocol_is_asked_differently(before: str) -> None:
    assert asked_otherwise({"piqa": PROTOCOL}, {"piqa": PROTOCOL}, [row()], [row()]) == {}
    result = asked_otherwise({"piqa": before, "copa": "x"}, {"piqa": PROTOCOL, "copa": "x"}, [row()], [row()])
    assert result == {"piqa": before}
    assert asked_otherwise({}, {"piqa": PROTOCOL}, [], [row()]) == {}, "there is nothing to compare with"


@pytest.mark.parametrize("change", [{"prompt": "Tell"}, {"gold": "that"}])
def test_other_prompts_of_the_same_items_are_asked_differently(change: dict[str, str]) -> None:
    before = [row(item="1"), row(item="2"), row("copa")]
    after = [row(item="1"), row(item="2", **change), row("copa"), row("piqa", "3", **change)]
    result = asked_otherwise({"piqa": "p", "copa": "c"}, {"piqa": "p", "copa": "c"}, before, after)
    assert result == {"piqa": "other prompts or gold answers, such as of 2"}


def test_what_was_asked_differently_is_said_in_place_of_a_change(tmp_path: Path) -> None:
    after = [row(item=str(number)) for number in range(9)] + [row("copa", str(number)) for number in range(9)]
    before = [{**each, "shares": json.dumps({"acc": [0.0, 1.0]})} for each in after]
    protocols = {"piqa": "0-shot", "copa": "0-shot"}
    asked = asked_otherwise({"piqa": "5-shot", "copa": "0-shot"}, protocols, before, after)
    result = differences([each for each in before if each["task"] not in asked], after)
    assert set(result) == {"copa/acc"}
    scores = {f"{task}/acc": Score(1.0, 9, 0.7, 1.0, 0.5) for task in protocols}
    Scores("toy", 0, 0, scores, protocols=protocols, asked_before=asked).write(tmp_path)
    write_differences(result, tmp_path)
    assert Scores.read(tmp_path).asked_before == {"piqa": "5-shot"}
    terminal = Console(width=200, record=True, file=StringIO())
    print_scores(tmp_path, terminal)
    lines = [" ".join(line.split()) for line in terminal.export_text().splitlines()]
    assert "copa/acc 1.000 0.700 to 1.000 9 0.500 (above) 1.000 +1.000" in lines
    assert "piqa/acc 1.000 0.700 to 1.000 9 0.500 (above) 1.000 asked differently" in lines
    assert "ASKED DIFFERENTLY piqa: the other checkpoint, 5-shot. The scores cannot be compared." in lines


def test_a_stage_names_what_does_not_fit_before_anything_is_asked(
    our_model: ModelSource, llama: Path, tmp_path: Path
) -> None:
    from pipelines import evaluate

    other = changed(our_model, tmp_path / "other", swap_two)
    with pytest.raises(ValueError, match="the id 100 is"):
        evaluate.checkpoint_stage("toy", llama, other, Suite(root=tmp_path), Execution())
