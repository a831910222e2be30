"""A checkpoint is asked in the form that it was trained in, and faults are reported with the scores: none becomes a
silent zero."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from arctic_model.checkpoint.reading import STATE, TrainingState
from arctic_model.presets import preset
from arctic_model.sizing.flops import count_parameters
from infra.context import StageContext
from pipelines import evaluate
from pipelines.artifacts.checkpoint import FINETUNED_FILE, Finetuned
from pipelines.artifacts.evaluation import SAMPLES_FILE, Scores, read_differences
from pipelines.evaluate import measuring, suites
from pipelines.evaluate.asking import respondents
from pipelines.evaluate.asking.chat import Chat, asked_in_chat
from pipelines.evaluate.asking.respondents import CheckpointRespondent
from pipelines.evaluate.data import files as data
from pipelines.evaluate.data.files import DataFile, content_digest
from pipelines.evaluate.engine.decoding import TextGenerator
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.engine.requests import Generation, Likelihood, LogLikelihood, Text
from pipelines.evaluate.notes import Flaws, flaws_of, note
from pipelines.evaluate.suites import Suite
from pipelines.evaluate.task import DataError, Item
from pipelines.evaluate.tasks.code.task import HUMANEVAL_PLUS
from pipelines.evaluate.tasks.ifeval.task import PROMPTS
from pipelines.models.loading import load_codec, load_model
from pipelines.models.source import ModelSource
from pipelines.sandbox import SandboxUnavailableError
from tests.kit.optional import needs

pytestmark = needs("langdetect")

NEW_TOKENS = 8
KINDS, WAYS = ("prompt", "instruction"), ("strict", "loose")
ROWS = [
    {"key": key, "prompt": prompt, "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    for key, prompt in ((1, "Name a river."), (2, "Say it without a comma."), (3, "Row 7: naïve café. " * 200))
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with three prompts of IFEval and an empty file of HumanEval+."""
    fingerprints = dict(data.data_files())
    for file, rows in ((PROMPTS, ROWS), (HUMANEVAL_PLUS.file.removesuffix(".gz"), [])):
        path = tmp_path / "root" / file
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        fingerprints[file] = DataFile(file, content_digest(path), len(rows), "bytes", "", "")
    for module in (data, suites):
        monkeypatch.setattr(module, "data_files", lambda: fingerprints)
    return tmp_path / "root"


@dataclass
class Measured:
    """The output of an evaluation."""

    key: str
    scores: Scores
    answers: dict[str, str]
    metrics: dict[str, float]
    warnings: list[str]


@pytest.fixture
def measure(root: Path, tmp_path: Path) -> Callable[..., Measured]:
    def measure(
        source: ModelSource,
        name: str,
        tasks: tuple[str, ...] = ("ifeval",),
        previous: str | None = None,
        chat: Chat = "auto",
        system: str = "",
    ) -> Measured:
        suite = Suite(tasks, root, max_new_tokens=NEW_TOKENS, chat=chat, system=system)
        stage = evaluate.checkpoint_stage("toy", source.checkpoint, source.tokenizer, suite, evaluate.Execution())
        events: list[dict[str, Any]] = []
        out = tmp_path / name
        out.mkdir()
        inputs = {"previous": SimpleNamespace(path=tmp_path / previous)} if previous else {}
        metrics = stage.work(StageContext(stage.id, out, tmp_path / f"{name}.state", events.append), inputs)
        rows = pq.read_table(out / SAMPLES_FILE).to_pylist()
        answers = {row["item_id"]: row["answer"] for row in rows}
        warnings = [event["message"] for event in events if event["event"] == "warning"]
        return Measured(stage.key, Scores.read(out), answers, dict(metrics), warnings)

    return measure


@pytest.fixture
def in_chat(our_model: ModelSource, tmp_path: Path) -> ModelSource:
    """A checkpoint that was fine-tuned in the chat template of its tokenizer."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(our_model.checkpoint, folder)
    (folder / STATE).write_text(json.dumps(asdict(TrainingState(7, 7168, [], [], 7, [], [], []))))
    Finetuned(chat=True, objective="sft", method="full", base="0123").write(tmp_path)
    return ModelSource(folder, our_model.tokenizer_folder)


@pytest.fixture
def without_template(in_chat: ModelSource, tmp_path: Path) -> ModelSource:
    folder = tmp_path / "tokenizer"
    shutil.copytree(in_chat.tokenizer_folder, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return ModelSource(in_chat.checkpoint, folder)


def test_the_tokenizer_decides_how_is_asked_and_the_protocol_says_so(
    in_chat: ModelSource, without_template: ModelSource, measure: Callable[..., Measured]
) -> None:
    chat, plain = measure(in_chat, "chat"), measure(without_template, "plain")
    assert ", in the chat template;" in chat.scores.protocols["ifeval"]
    assert ", without a chat template (completion form" in plain.scores.protocols["ifeval"]
    assert plain.scores.protocols["ifeval"].endswith("; answers end after 8 tokens")
    assert chat.key != plain.key
    prompt = ROWS[0]["prompt"]
    model = load_model(in_chat)
    templated = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    asked = [Generation(templated, (), NEW_TOKENS, form="templated"), Generation(prompt, (), NEW_TOKENS)]
    chatted, as_text = TextGenerator(model).write(asked)
    assert (chat.answers["1"], plain.answers["1"]) == (chatted.text, as_text.text)
    assert chatted.text != as_text.text


def test_a_checkpoint_that_was_not_fine_tuned_in_the_chat_is_asked_there_only_if_told_so(
    in_chat: ModelSource, without_template: ModelSource, measure: Callable[..., Measured], tmp_path: Path
) -> None:
    tuned, never = measure(in_chat, "tuned"), measure(in_chat, "never", chat="never")
    (tmp_path / FINETUNED_FILE).unlink()
    base, always = measure(in_chat, "base"), measure(in_chat, "always", chat="always")
    forms = [", in the chat template;" in each.scores.protocols["ifeval"] for each in (tuned, never, base, always)]
    assert forms == [True, False, False, True]
    assert "(completion form: the model continues the prompt);" in base.scores.protocols["ifeval"]
    assert (tuned.answers, never.answers) == (always.answers, base.answers)
    assert len({each.key for each in (tuned, never, base, always)}) == 4
    with pytest.raises(ValueError, match=r'no chat template, which chat = "always" asks for\. Use "auto"'):
        measure(without_template, "nowhere", chat="always")


def test_of_a_hugging_face_model_the_template_is_the_sign(in_chat: ModelSource, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = tmp_path / "theirs"
    shutil.copytree(in_chat.tokenizer_folder, folder)
    (folder / "config.json").write_text('{"model_type": "llama", "vocab_size": 320}')
    source = ModelSource(folder)
    assert [asked_in_chat(source, chat) for chat in ("never", "auto", "always")] == [False, True, True]


def test_change_since_a_checkpoint_that_was_asked_in_another_way_is_not_told(
    in_chat: ModelSource, without_template: ModelSource, measure: Callable[..., Measured], tmp_path: Path
) -> None:
    chat = measure(in_chat, "chat")
    again, plain = measure(in_chat, "again", previous="chat"), measure(without_template, "plain", previous="chat")
    assert set(read_differences(tmp_path / "again")) == {f"ifeval/{name}_{way}" for name in KINDS for way in WAYS}
    assert again.scores.asked_before == {}
    assert read_differences(tmp_path / "plain") == {}
    assert plain.scores.asked_before == {"ifeval": chat.scores.protocols["ifeval"]}
    (without_template.tokenizer_folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((without_template.tokenizer_folder / "tokenizer_config.json").read_text())
    template = "{% for message in messages %}Q: {{ message['content'] }} A:{% endfor %}"
    (without_template.tokenizer_folder / "tokenizer_config.json").write_text(
        json.dumps(config | {"chat_template": template})
    )
    other = measure(without_template, "other", previous="chat")
    assert other.scores.asked_before == {"ifeval": chat.scores.protocols["ifeval"]}, "another template is another way"


def test_a_system_prompt_is_part_of_the_question_the_key_and_the_protocol(
    in_chat: ModelSource, measure: Callable[..., Measured], tmp_path: Path
) -> None:
    without, with_it = measure(in_chat, "without"), measure(in_chat, "with", previous="without", system="Be brief.")
    other = measure(in_chat, "other", previous="with", system="Be long.")
    assert len({each.key for each in (without, with_it, other)}) == 3
    templated = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nName a river.<|im_end|>\n"
    asked = Generation(f"{templated}<|im_start|>assistant\n", (), NEW_TOKENS, form="templated")
    (answer,) = TextGenerator(load_model(in_chat)).write([asked])
    assert with_it.answers["1"] == answer.text != without.answers["1"]
    (row, *_) = pq.read_table(tmp_path / "with" / SAMPLES_FILE).to_pylist()
    assert row["prompt"] == "system: Be brief.\n\nuser: Name a river."
    # Changes between checkpoints that were asked behind different prompts are none.
    assert with_it.scores.asked_before == {"ifeval": without.scores.protocols["ifeval"]}
    assert other.scores.asked_before == {"ifeval": with_it.scores.protocols["ifeval"]}
    assert "; system prompt " in with_it.scores.protocols["ifeval"]


QUOTED = "{% if messages[0].role == 'system' %}{{ raise_exception(messages[0].content) }}{% endif %}"
SYSTEMLESS = {
    "left out": "{% for m in messages if m.role != 'system' %}{{ m.content }}\n{% endfor %}",
    "refused": "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[-1].content }}",
    "quoted": QUOTED + "{{ messages[-1].content }}",
}


@pytest.mark.parametrize("template", SYSTEMLESS.values(), ids=SYSTEMLESS)
def test_a_system_prompt_without_a_place_is_refused_before_anything_is_asked(
    template: str, in_chat: ModelSource, without_template: ModelSource, measure: Callable[..., Measured]
) -> None:
    with pytest.raises(ValueError, match=r"asked as a text to continue, without a system prompt\. Leave out --system"):
        measure(in_chat, "never", chat="never", system="Be brief.")
    file = without_template.tokenizer_folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    with pytest.raises(ValueError, match=r"its chat template has no place for a system prompt\. Leave that out"):
        measure(without_template, "placeless", chat="always", system="Be brief.")


def test_a_message_needs_a_template(without_template: ModelSource) -> None:
    with pytest.raises(ValueError, match="its tokenizer has no chat template. Ask without one."):
        TextGenerator(load_model(without_template)).write([Generation("Name a river.", (), NEW_TOKENS, form="message")])


def test_another_template_is_another_model(in_chat: ModelSource, without_template: ModelSource) -> None:
    """Hugging Face keeps it in a separate file."""
    before = without_template.digest()
    (without_template.tokenizer_folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert len({before, without_template.digest(), in_chat.digest()}) == 3


@pytest.mark.slow
def test_tokenizer_of_hugging_face_without_an_end_token_is_told(in_chat: ModelSource, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = tmp_path / "endless"
    folder.mkdir()
    shutil.copy(in_chat.tokenizer_folder / "tokenizer.json", folder)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match=r"no eos_token\. Name one in tokenizer_config\.json\."):
        load_codec(ModelSource(folder))


def test_a_context_that_lost_its_beginning_is_counted_and_told(
    in_chat: ModelSource, measure: Callable[..., Measured]
) -> None:
    result = measure(in_chat, "long")
    assert result.metrics["eval/ifeval/num_truncated"] == 1
    assert "1 of 3 questions lost their beginning: only a model with more positions" in result.scores.notes["ifeval"]
    assert [warning for warning in result.warnings if warning.startswith("ifeval: 1 of 3 questions lost")]


ITEM = Item("1", (Generation("Say \u00e9:", (), 9), LogLikelihood("a", " b")), "text")
GOLD = Likelihood(-1.0, False, 0)


@pytest.mark.parametrize(
    ("answers", "flaws"),
    [
        ((Text("caf\u00e9", "end", 0), GOLD), Flaws(1, 0, 0)),
        ((Text("caf\ufffd?", "end", 0), GOLD), Flaws(1, 0, 1)),
        ((Text("caf\ufffd", "stop", 0), GOLD), Flaws(1, 0, 1)),
        ((Text("caf\ufffd", "length", 0), GOLD), Flaws(1, 0, 0)),  # the limit cut a character
        ((Text("\ufffdaf\ufffd", "length", 0), GOLD), Flaws(1, 0, 1)),
        ((Text("", "length", 0), GOLD), Flaws(1, 0, 1)),  # it wrote to its limit, and the text is empty
        ((Text("", "end", 0), GOLD), Flaws(1, 0, 0)),
        ((Text("caf\u00e9", "end", 7), GOLD), Flaws(1, 1, 0)),
        ((Text("caf\u00e9", "end", 0), Likelihood(-1.0, False, 3)), Flaws(1, 1, 0)),
        ((Text("caf\u00e9", "length", 0, 9), GOLD), Flaws(1, 0, 0)),
        ((Text("caf\u00e9", "end", 0, 8), GOLD), Flaws(1, 0, 0)),
        ((Text("caf\u00e9", "length", 0, 8), GOLD), Flaws(1, 0, 0, num_shortened=1)),  # no position was left
    ],
)
def test_what_counts_as_cut_and_as_no_text(answers: tuple[Any, ...], flaws: Flaws) -> None:
    assert flaws_of([ITEM], [answers]) == flaws


def test_a_prompt_with_the_replacement_character_may_be_answered_with_it() -> None:
    item = Item("1", (Generation("What does \ufffd mean?", (), 9),), "text")
    assert flaws_of([item], [(Text("\ufffd is no text.", "end", 0),)]) == Flaws(1, 0, 0)


def test_notes_say_how_many_and_what_to_do() -> None:
    assert note(Flaws(5, 0, 0)) == ""
    assert "1,200 of 2,000 answers hold what is no text" in note(Flaws(2000, 0, 1200))
    assert "tables/samples.parquet" in note(Flaws(2000, 0, 1200))


def test_a_suite_without_data_names_every_mend(in_chat: ModelSource, root: Path, measure: Any) -> None:
    (root / PROMPTS).unlink()
    with pytest.raises(DataError, match=r"nothing could be measured\. ifeval: .*missing\. Run: arctic eval-data fetch"):
        measure(in_chat, "nothing")


def test_a_task_without_data_is_left_out_and_told(in_chat: ModelSource, measure: Callable[..., Measured]) -> None:
    result = measure(in_chat, "some", ("ifeval", "mbpp_plus"))
    assert "MbppPlus.jsonl.gz: missing. Run: arctic eval-data fetch --root" in result.scores.skipped["mbpp_plus"]
    assert any(warning.startswith("mbpp_plus is not measured: ") for warning in result.warnings)
    assert not any(name.startswith("mbpp_plus") for name in result.scores.scores)


@pytest.mark.parametrize("numpy", [False, True])
def test_code_that_cannot_be_held_is_refused_before_anything_is_asked(
    numpy: bool, in_chat: ModelSource, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(language: str, numpy: bool) -> None:
        raise SandboxUnavailableError(f"{language}, numpy {numpy}: no landlock here. Take another machine.")

    def answered(*_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(measuring, "preflight", refuse)
    monkeypatch.setattr(respondents, "answer", answered)
    monkeypatch.setattr(measuring, "read_items", lambda tasks, *_: ([(task, []) for task in tasks], {}))
    suite = Suite(("ifeval", "humaneval_plus"), root, numpy=numpy)
    context = StageContext("evaluate[toy]", tmp_path, tmp_path / "state", [].append)
    with (
        measuring.Measuring("toy", CheckpointRespondent(in_chat, evaluate.Execution()), suite, context) as held,
        pytest.raises(SandboxUnavailableError, match=f"python, numpy {numpy}: no landlock here"),
    ):
        held.ask_suite()


def test_stored_answers_are_judged_again_without_the_model(
    in_chat: ModelSource, root: Path, measure: Callable[..., Measured], tmp_path: Path
) -> None:
    asked = measure(in_chat, "asked")
    shutil.rmtree(in_chat.checkpoint)
    stage = evaluate.rescoring_stage(
        "toy", tmp_path / "asked", "0123", Suite(("ifeval",), root, max_new_tokens=NEW_TOKENS)
    )
    out = tmp_path / "rescored"
    out.mkdir()
    metrics = stage.work(StageContext(stage.id, out, tmp_path / "rescored.state", [].append), {})
    assert metrics == asked.metrics
    for file in ("scores.json", SAMPLES_FILE):
        assert (out / file).read_bytes() == (tmp_path / "asked" / file).read_bytes()


def test_what_was_not_asked_cannot_be_judged_again(
    in_chat: ModelSource, root: Path, measure: Callable[..., Measured], tmp_path: Path
) -> None:
    measure(in_chat, "asked")
    (tmp_path / "later").mkdir()
    suite = Suite(("ifeval-base",), root, max_new_tokens=NEW_TOKENS)
    stage = evaluate.rescoring_stage("toy", tmp_path / "asked", "0123", suite)
    with pytest.raises(
        DataError, match=r"has no answer to item 1 of ifeval-base as it is asked now\. Ask the checkpoint"
    ):
        stage.work(StageContext(stage.id, tmp_path / "later", tmp_path / "later.state", [].append), {})


def test_samples_hold_every_answer_as_it_came(
    in_chat: ModelSource, measure: Callable[..., Measured], tmp_path: Path
) -> None:
    measure(in_chat, "asked")
    rows = pq.read_table(tmp_path / "asked" / SAMPLES_FILE).to_pylist()
    for row, asked in zip(rows, ROWS, strict=True):
        (response,) = json.loads(row["responses"])
        assert row["prompt"] == asked["prompt"]
        assert response["text"] == row["answer"]
        assert response["finish"] in ("stop", "end", "length")


def test_a_checkpoint_of_weights_alone_has_no_steps_and_its_parameters(our_model: ModelSource) -> None:
    training = CheckpointRespondent(our_model, Execution()).training
    assert (training.step, training.tokens) == (0, 0)
    assert training.active_parameters == count_parameters(preset("tiny", {"max_positions": 512})).active
