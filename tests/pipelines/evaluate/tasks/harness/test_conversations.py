"""Conversations in the chat templates of public models are those of the harness' own model of `transformers`, to the
character and to the id: prompts, stops, and the split of context and continuation."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.artifacts.tokenization.chat_template import ChatTemplate
from pipelines.evaluate.asking.chat import refusal
from pipelines.evaluate.engine.encoding import encode_pair, encode_prompt
from pipelines.evaluate.engine.requests import Generation, LogLikelihood
from pipelines.evaluate.evaluation import read_items
from pipelines.evaluate.tasks.harness.named import HarnessOptions
from pipelines.models.codec import TextCodec
from pipelines.models.loading import load_codec
from pipelines.models.source import ModelSource
from tests.kit.harness_reference import evaluated, harness_model
from tests.kit.optional import needs
from tests.pipelines.evaluate.tasks.harness.rivers import likelihood, write_pages, written
from tests.pipelines.evaluate.tasks.harness.templates import GEMMA, MISTRAL, SPECIAL_TOKENS, TEMPLATES

pytestmark = [needs("lm_eval"), needs("transformers")]
SYSTEMS = ("", "Answer in one word.", "Answer in one word.\n")
POSITIONS = 10**6


@dataclass(frozen=True)
class Model:
    """A tokenizer with one of the templates: ours, and the harness' model that has it."""

    template: str
    source: ModelSource
    codec: TextCodec
    harness: Any


@pytest.fixture(scope="module")
def include(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("include")
    write_pages(folder)
    return folder


@pytest.fixture(scope="module", params=TEMPLATES.values(), ids=TEMPLATES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Every text begins with <s>, also one that the template has begun with it already."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["Which river is 1? rivera riverbb riverccc [INST] assistant user"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": request.param}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 400}))
    source = ModelSource(folder)
    return Model(request.param, source, load_codec(source), harness_model(AutoTokenizer.from_pretrained(folder)))


def samples_of(include: Path, name: str, num_fewshot: int, system: str, template: Callable[..., str] | None) -> Any:
    """Samples of the harness' own evaluator."""
    samples = evaluated(include, [name], likelihood, written, num_fewshot, system or None, template)[name]
    return sorted(samples, key=lambda sample: sample["doc_id"])


@pytest.mark.parametrize("num_fewshot", [0, 2])
@pytest.mark.parametrize("name", ["own_names", "own_begun", "own_opened", "own_described"])
def test_conversations_are_those_of_the_harness_own_evaluator(
    include: Path, model: Model, name: str, num_fewshot: int
) -> None:
    task = HarnessOptions.named(f"lm_eval:{name}", include, num_fewshot).task(include, None, chat=True)
    assert ("examples as turns" in task.protocol) == bool(num_fewshot)
    assert ("description as system prompt, answers begin 'The river is'" in task.protocol) == (name == "own_begun")
    for system in SYSTEMS:
        [(_, items)], _ = read_items([task], None, system=system)
        is_described = bool(system or task.page.fields.get("description"))
        is_begun = model.template == MISTRAL and "gen_prefix" in task.page.fields
        is_refused = is_described and (model.template == GEMMA or is_begun)
        ((roles,),) = {tuple(item.conversations) for item in items}
        assert bool(refusal(model.source, roles)) == is_refused
        if not is_refused:
            samples = samples_of(include, name, num_fewshot, system, model.harness.apply_chat_template)
            for item, sample in zip(items, samples, strict=True):
                (request,) = item.requests
                assert isinstance(request, Generation)
                assert_equal(request, *sample["arguments"][0], model)
                # In words for people: the same texts, each behind its role.
                assert item.prompt.count("Which river is") == num_fewshot + 1
                assert item.prompt.startswith(f"system: {system}") or not system


def assert_equal(request: Generation, prompt: str, options: dict[str, Any], model: Model) -> None:
    """The request as the harness asks it: its text by both of our renderers, its ids, and where the answer ends."""
    assert request.form == "message"
    assert model.codec.chat(request.messages, begun=bool(request.opening)) == prompt
    ours = ChatTemplate(model.template)
    rendered = ours.render_begun if request.opening else ours.render
    assert rendered(request.messages, **({} if request.opening else {"add_generation_prompt": True})) == prompt
    ids = encode_prompt(SimpleNamespace(codec=model.codec, max_positions=POSITIONS), request).ids
    assert ids == model.harness.tok_batch_encode([prompt])[0][0].tolist()
    assert (list(request.stops), request.max_new_tokens) == (options["until"], options["max_gen_toks"])


@pytest.mark.parametrize("num_fewshot", [0, 2])
def test_a_choice_behind_a_conversation_is_split_as_the_harness_splits_it(
    include: Path, model: Model, num_fewshot: int
) -> None:
    """So the harness scores it with our engine as its model, and a suite scores it as a text."""
    for template in (model.harness.apply_chat_template, None):
        for sample in samples_of(include, "own_rivers", num_fewshot, "", template):
            for pair in sample["arguments"]:
                ours = encode_pair(model.codec, LogLikelihood(*pair, templated=template is not None))
                assert (ours.context, ours.continuation) == model.harness._encode_pair(*pair)
                assert ours.encoded == "together"
    task = HarnessOptions.named("lm_eval:own_rivers", include, num_fewshot).task(include, None, chat=True)
    asked = [[(one.context, one.continuation) for one in item.requests] for item in task.items()]
    texts = samples_of(include, "own_rivers", num_fewshot, "", None)
    assert asked == [[tuple(pair) for pair in sample["arguments"]] for sample in texts]


def test_a_begun_answer_that_a_template_leaves_out_is_refused(model: Model) -> None:
    leaving_out = ChatTemplate("{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}")
    messages = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "This"}]
    with pytest.raises(ValueError, match="leaves out the message to go on from"):
        leaving_out.render_begun(messages)
    assert ChatTemplate(model.template).render_begun(messages) == model.codec.chat(messages, begun=True)
