"""vLLM in this process, by a fake of its interface that computes with transformers: ids, sampling parameters and
log-probabilities go both ways, and answers are those of our own engine."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from infra.budget import StoppedError
from infra.context import STOP, StageContext
from infra.store.journal import Journal
from pipelines.errors import OptionError
from pipelines.evaluate.asking import vllm_engine
from pipelines.evaluate.asking.vllm_engine import VllmRespondent
from pipelines.evaluate.engine.answering import answer
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, LogLikelihood, Request, Text
from pipelines.evaluate.task import Item
from pipelines.graph.evaluation import EvaluationOptions, evaluation_graph
from pipelines.models.source import ModelSource
from tests.kit.optional import needs

pytestmark = needs("transformers")
POSITIONS = 64
REQUESTS: list[Request] = [
    Generation("Row 3:", (), 6),
    Generation("Row 3: naive " * 30, (), 6),
    LogLikelihood("Row 7: the cup", " was big"),
    LogLikelihood("Row 7: the cup ", "was small"),
    LogLikelihood("", "SELECT 1"),
    LogLikelihood("Row 7", " of many" * 40),
]


@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    stop: list[str] | None = None
    seed: int | None = None
    prompt_logprobs: int | None = None


class LLM:
    """As much of vllm.LLM as is used. It refuses the same as vLLM: a prompt that leaves no position."""

    loads = 0

    def __init__(self, model: str, tokenizer: str, seed: int) -> None:
        import transformers

        LLM.loads += 1
        self._model = transformers.AutoModelForCausalLM.from_pretrained(model)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer)
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=POSITIONS))

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Any], params: Sequence[SamplingParams], use_tqdm: bool) -> list[Any]:
        return [self._one(prompt["prompt_token_ids"], each) for prompt, each in zip(prompts, params, strict=True)]

    def _one(self, ids: list[int], params: SamplingParams) -> Any:
        assert len(ids) + params.max_tokens <= POSITIONS
        values = self._model(torch.tensor([ids])).logits[0].log_softmax(-1)
        logprobs: list[Any] = [None]
        for row, token in zip(values[:-1], ids[1:], strict=True):
            logprobs.append({token: SimpleNamespace(logprob=float(row[token]), rank=1 + int((row > row[token]).sum()))})
        new = self._model.generate(
            torch.tensor([ids]), max_new_tokens=params.max_tokens, do_sample=False, eos_token_id=None, pad_token_id=0
        )[0, len(ids) :].tolist()
        text = self._tokenizer.decode(new)
        written = SimpleNamespace(text=text, token_ids=new, finish_reason="length", stop_reason=None)
        for stop in params.stop or ():
            if stop in text:
                written.text, written.finish_reason, written.stop_reason = text[: text.index(stop)], "stop", stop
        return SimpleNamespace(outputs=[written], prompt_logprobs=logprobs if params.prompt_logprobs == 0 else None)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("llama")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["Row 7: the cup was big, of many"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    import transformers

    # One position is vLLM's for the token that it writes after a scored text, one for the text's last id.
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    llama = transformers.LlamaConfig(
        vocab_size=300, max_position_embeddings=POSITIONS - 2, initializer_range=0.3, eos_token_id=0, **shape
    )
    transformers.LlamaForCausalLM(llama).save_pretrained(folder)
    return folder


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    module.__version__ = "0.0.test"  # type: ignore[attr-defined]
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    module.TokensPrompt = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(LLM, "loads", 0)
    return module


def asked(respondent: Any, requests: Sequence[Request], folder: Path) -> list[Answer]:
    context = StageContext("evaluate[llama]", folder, folder, lambda _: None)
    with Journal(folder / "journal.jsonl") as journal:
        return respondent.answer([("task", Item("1", tuple(requests), ""))], journal, context)[0]


def test_answers_are_those_of_our_own_engine(llama: Path, vllm: ModuleType, tmp_path: Path) -> None:
    respondent = VllmRespondent(ModelSource(llama))
    result = asked(respondent, REQUESTS, tmp_path)
    context = StageContext("evaluate[llama]", tmp_path, tmp_path, lambda _: None)
    with Journal(tmp_path / "ours.jsonl") as journal:
        (expected,) = answer([REQUESTS], ModelSource(llama), journal, context)
    for ours, theirs in zip(expected[2:], result[2:], strict=True):
        assert isinstance(ours, Likelihood) and isinstance(theirs, Likelihood)
        assert theirs.log_probability == pytest.approx(ours.log_probability, rel=1e-4)
        assert theirs[1:] == ours[1:]
    assert isinstance(result[0], Text) and result[0] == expected[0]
    assert isinstance(result[1], Text) and result[1].num_truncated > 0
    assert (respondent.engine, respondent.seconds.keys()) == ("vLLM 0.0.test", set(REQUESTS))


def test_stops_are_looked_for_and_answers_are_kept(llama: Path, vllm: ModuleType, tmp_path: Path) -> None:
    respondent = VllmRespondent(ModelSource(llama))
    (whole,) = asked(respondent, REQUESTS[:1], tmp_path)
    assert isinstance(whole, Text)
    request = Generation("Row 3:", (whole.text[2],), 6)
    (cut,) = asked(respondent, [request], tmp_path)
    assert (cut.text, cut.finish) == (whole.text[: whole.text.index(whole.text[2])], "stop")
    loads = LLM.loads
    assert asked(respondent, [request, REQUESTS[0]], tmp_path) == [cut, whole]
    assert LLM.loads == loads == 2


def test_a_stop_is_heeded_after_a_batch_and_the_last_batch_is_not_thrown_away(
    llama: Path, vllm: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_engine, "REQUESTS_AT_ONCE", 2)
    requests = [Generation(f"Row {number}:", (), 3) for number in range(5)]
    respondent = VllmRespondent(ModelSource(llama))
    (tmp_path / STOP).write_text("--max-hours 1 is reached")
    for num_answers in (2, 4):
        with pytest.raises(StoppedError, match="--max-hours 1 is reached"):
            asked(respondent, requests, tmp_path)
        assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == num_answers
    assert len(asked(respondent, requests, tmp_path)) == 5


def test_the_command_names_the_engine_and_what_is_missing(llama: Path, vllm: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "copa").mkdir()
    (tmp_path / "copa" / "validation.jsonl.gz").write_bytes(b"")
    options = EvaluationOptions((), ("copa",), tmp_path, model=f"vllm:{llama}")
    (stage,) = (each for each in evaluation_graph(options).stages.values() if each.name == "evaluate")
    assert (stage.params["engine"], stage.subject) == ("vLLM 0.0.test", f"{llama.name}-vllm")
    with pytest.raises(OptionError, match="holds neither checkpoint.json"):
        evaluation_graph(EvaluationOptions((), ("copa",), tmp_path, model=f"vllm:{tmp_path}"))


def test_without_vllm_the_mend_is_named(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.evaluate.asking.vllm_engine.find_spec", lambda _: None)
    (tmp_path / "copa").mkdir()
    (tmp_path / "copa" / "validation.jsonl.gz").write_bytes(b"")
    with pytest.raises(OptionError, match="--model vllm:.*: needs the package vllm. Install it"):
        evaluation_graph(EvaluationOptions((), ("copa",), tmp_path, model=f"vllm:{llama}"))
