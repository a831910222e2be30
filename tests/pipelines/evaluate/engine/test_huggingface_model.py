"""A Hugging Face directory, and lm-evaluation-harness: its own path and ours give the same numbers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.context import StageContext
from infra.store.journal import Journal
from pipelines.evaluate.asking.chat import SYSTEM_PROMPT, refusal
from pipelines.evaluate.engine.answering import answer
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.engine.requests import Generation, LogLikelihood, Text
from pipelines.models.loading import load_model
from pipelines.models.source import ModelSource
from tests.kit.harness_reference import huggingface_class

pytestmark = pytest.mark.slow

SHOTS = "Question: which row is naïve? Answer: the third, SELECT it.\n"
PAIRS = [
    *((SHOTS * n + "Question: why? Answer:", ending) for n in range(5) for ending in (" A", " B", " because of café")),
    ("", "SELECT 1"),
    ("The cup ", "was big"),
    (SHOTS * 12, "too long by far"),
]
TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[bot]{% endif %}"
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights and its tokenizer."""
    return _written(tmp_path_factory.mktemp("llama"), "LlamaForCausalLM")


@pytest.fixture(scope="module")
def olmo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a family that is not among ours, and follows any mask."""
    return _written(tmp_path_factory.mktemp("olmo"), "OlmoForCausalLM")


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mistral that sees 16 ids back only: nothing can be shared between requests."""
    return _written(tmp_path_factory.mktemp("mistral"), "MistralForCausalLM", sliding_window=16)


def _written(folder: Path, architecture: str, **more: Any) -> Path:
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([SHOTS, "because of the cup"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TEMPLATE}))
    torch.manual_seed(0)
    model_class = getattr(transformers, architecture)
    model_config = model_class.config_class(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=192,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
        **more,
    )
    model_class(model_config).save_pretrained(folder)
    return folder


def harness(folder: Path) -> Any:
    """The harness's own path."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return huggingface_class()(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=4)


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, args, 0, ("task", number // 3, 1)) for number, args in enumerate(arguments)]


@pytest.mark.parametrize("name", ["llama", "olmo", "windowed"])
@pytest.mark.parametrize("batched", [False, True])
def test_log_likelihoods_equal_the_harness_s_own(
    name: str, batched: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(name)
    expected = harness(folder).loglikelihood(instances("loglikelihood", PAIRS), disable_tqdm=True)
    context = StageContext("evaluate[1]", tmp_path, tmp_path, lambda event: None)
    questions = [[LogLikelihood(*pair) for pair in PAIRS[start : start + 3]] for start in range(0, len(PAIRS), 3)]
    with Journal(tmp_path / "items.jsonl") as journal:
        result = answer(questions, ModelSource(folder), journal, context, Execution(batched=batched))
    flat = [scored for question in result for scored in question]
    for (probability, is_greedy), ours, pair in zip(expected, flat, PAIRS, strict=True):
        assert ours.log_probability == pytest.approx(probability, rel=1e-6, abs=1e-5), pair
        assert ours.is_greedy == is_greedy
    assert flat[-1].num_truncated > 0
    assert load_model(ModelSource(folder)).sees_masks == (name != "windowed")
    assert ModelSource(folder).is_supported == (name == "llama")


@pytest.mark.parametrize("name", ["llama", "olmo", "windowed"])
def test_generated_text_equals_the_harness_s_own(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(name)
    prompts = [SHOTS * n + "Question" for n in range(1, 4)]
    options = {"until": ["\n", "zz"], "max_gen_toks": 24, "do_sample": False}
    asked = instances("generate_until", [(prompt, options) for prompt in prompts])
    expected = harness(folder).generate_until(asked, disable_tqdm=True)
    context = StageContext("evaluate[1]", tmp_path, tmp_path, lambda event: None)
    with Journal(tmp_path / "items.jsonl") as journal:
        questions = [[Generation(prompt, ("\n", "zz"), 24)] for prompt in prompts]
        result = answer(questions, ModelSource(folder), journal, context)
    assert [text.text for (text,) in result if isinstance(text, Text)] == expected


@pytest.mark.parametrize("name", ["llama", "olmo"])
def test_answers_side_by_side_are_those_of_each_alone(name: str, request: pytest.FixtureRequest) -> None:
    from arctic_model.inference.completion import Request
    from arctic_model.inference.engine import Engine

    model = load_model(ModelSource(request.getfixturevalue(name)))
    requests = [Request([5 + number] * length, 6) for number, length in enumerate((3, 40, 150, 7))]
    alone = [Engine(model).run([request])[0].ids for request in requests]
    assert [each.ids for each in Engine(model, max_batch=3).run(requests)] == alone


def test_message_is_put_into_the_chat_template(llama: Path) -> None:
    from pipelines.evaluate.engine.encoding import encode_prompt

    model = load_model(ModelSource(llama))
    prompt = encode_prompt(model, Generation("Which row?", (), 5, form="message"))
    assert model.codec.decode(prompt.ids) == "[user] Which row?\n[bot]"


@pytest.mark.parametrize("text", ["[none]", "{{ raise_exception('System role not supported') }}"])
def test_a_template_without_a_place_for_a_system_prompt_is_refused(text: str, llama: Path, tmp_path: Path) -> None:
    """Public models do both: Gemma's template refuses the role, others leave it out."""
    folder = tmp_path / "systemless"
    shutil.copytree(llama, folder)
    file = folder / "tokenizer_config.json"
    template = "{% for m in messages %}{% if m.role == 'system' %}" + text + "{% else %}{{ m.content }}{% endif %}"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template + "{% endfor %}"}))
    reason = refusal(ModelSource(folder), SYSTEM_PROMPT)
    assert "systemless: its chat template has no place for a system prompt." in reason
    assert not refusal(ModelSource(llama), SYSTEM_PROMPT)


def test_harness_runs_a_task_of_its_own_on_our_model(llama: Path, our_model: ModelSource, tmp_path: Path) -> None:
    """Its evaluator, its scoring: a multiple choice, a rolling and a generating task on both paths and on our model."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    from pipelines.evaluate.engine.harness_model import HarnessModel

    rows = [
        {"question": f"row {n}, is it naïve?", "choices": ["no", "yes", "because"], "gold": n % 3} for n in range(6)
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    shared = (
        f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path / 'data.jsonl'}}}}}\ntest_split: test\n"
        "doc_to_text: 'Question: {{question}} Answer:'\n"
    )
    tasks = {
        "choice": "output_type: multiple_choice\ndoc_to_choice: '{{choices}}'\ndoc_to_target: '{{gold}}'\n"
        "metric_list: [{metric: acc}, {metric: acc_norm}]\n",
        "rolling": "output_type: loglikelihood_rolling\ndoc_to_target: '{{question}}'\n"
        "metric_list: [{metric: bits_per_byte}]\n",
        "writing": "output_type: generate_until\ndoc_to_target: yes\n"
        "generation_kwargs: {until: ['x'], max_gen_toks: 8}\nmetric_list: [{metric: exact_match}]\n",
    }
    for name, more in tasks.items():
        text = shared if name != "rolling" else shared.replace("'Question: {{question}} Answer:'", "''")
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\n{text}{more}")

    def evaluate(model: Any) -> dict[str, Any]:
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        result = lm_eval.simple_evaluate(
            model,
            tasks=list(tasks),
            task_manager=manager,
            apply_chat_template=False,
            bootstrap_iters=0,
            log_samples=True,
        )
        return {name: [sample["filtered_resps"] for sample in result["samples"][name]] for name in tasks}

    context = StageContext("evaluate[1]", tmp_path, tmp_path, lambda event: None)
    with Journal(tmp_path / "items.jsonl") as journal:
        ours, theirs = evaluate(HarnessModel(ModelSource(llama), journal, context)), evaluate(harness(llama))
        assert set(evaluate(HarnessModel(our_model, journal, context))) == set(tasks)
    assert ours["writing"] == theirs["writing"]
    for name in ("choice", "rolling"):
        assert json.loads(json.dumps(ours[name])) != []
        for one, two in zip(_numbers(ours[name]), _numbers(theirs[name]), strict=True):
            assert one == pytest.approx(two, rel=1e-6, abs=1e-5)


def _numbers(value: Any) -> list[float]:
    return (
        [number for part in value for number in _numbers(part)] if isinstance(value, list | tuple) else [float(value)]
    )


def test_harness_refuses_what_it_would_not_do(llama: Path, tmp_path: Path) -> None:
    from pipelines.evaluate.engine.harness_model import HarnessModel

    context = StageContext("evaluate[1]", tmp_path, tmp_path, lambda event: None)
    with Journal(tmp_path / "items.jsonl") as journal:
        model = HarnessModel(ModelSource(llama), journal, context)
        with pytest.raises(ValueError, match="top_p"):
            model.generate_until(instances("generate_until", [("Say", {"until": ["x"], "top_p": 0.9})]))
        assert model.apply_chat_template([{"role": "user", "content": "hi"}]) == "[user] hi\n[bot]"
        assert model.chat_template(True) == TEMPLATE


def test_folder_that_is_no_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="transformers"):
        load_model(ModelSource(tmp_path))
