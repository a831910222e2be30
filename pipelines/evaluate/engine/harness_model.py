"""A checkpoint as a model of lm-evaluation-harness, so that any of its tasks runs through this engine.

    model = HarnessModel(ModelSource(checkpoint), journal, context, Execution(num_actors=2))
    lm_eval.simple_evaluate(model, tasks=["arc_easy"])

Needs the package lm_eval: pip install 'arctic-pretraining[evaluate]'.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs

from infra.context import StageContext
from infra.store.journal import Journal
from pipelines.evaluate.engine.answering import answer
from pipelines.evaluate.engine.execution import ONE_ACTOR, Execution
from pipelines.evaluate.engine.requests import Generation, LogLikelihood, Request
from pipelines.models.loading import load_codec
from pipelines.models.source import ModelSource

MAX_NEW_TOKENS = 256
"""If a task has no limit: the harness's own default."""


class HarnessModel(TemplateLM):  # type: ignore[misc]
    """Its requests are recorded in the journal and spread over actors as those of any suite.

    Requests of one document are one question, so their common prefix is read once. It supports only greedy decoding and
    temperature; other generation options raise ValueError.
    """

    def __init__(
        self, source: ModelSource, journal: Journal, context: StageContext, execution: Execution = ONE_ACTOR
    ) -> None:
        super().__init__()
        self._source = source
        self._journal = journal
        self._context = context
        self._execution = execution
        self._codec = load_codec(source)
        self._templated = False

    @property
    def eot_token_id(self) -> int:
        return min(self._codec.end_ids)

    @property
    def prefix_token_id(self) -> int:
        return self._codec.prefix_id

    @property
    def tokenizer_name(self) -> str:
        return self._source.tokenizer_folder.resolve().as_posix().replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: object) -> list[int]:
        return self._codec.encode(string, begin=add_special_tokens is not False, marks=self._templated)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return self._codec.template if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        self._templated = True
        return self._codec.chat(chat_history, begun=not add_generation_prompt)

    def loglikelihood(self, requests: list[Instance], **_: object) -> list[tuple[float, bool]]:
        documents = groupby(enumerate(requests), key=lambda pair: _document(pair[1], pair[0]))
        answers = self._ask([[self._log_likelihood(*instance.args) for _, instance in same] for _, same in documents])
        return [(scored[0], scored[1]) for document in answers for scored in document]

    def loglikelihood_rolling(self, requests: list[Instance], **_: object) -> list[float]:
        answers = self._ask([[LogLikelihood("", instance.args[0])] for instance in requests])
        return [scored[0] for (scored,) in answers]

    def generate_until(self, requests: list[Instance], **_: object) -> list[str]:
        seen: Counter[Generation] = Counter()
        batches: list[list[Request]] = []
        for instance in requests:
            first = self._generation(*instance.args)
            batches.append([replace(first, sample=seen[first] if first.temperature else 0)])
            seen[first] += 1
        return [written[0] for (written,) in self._ask(batches)]

    def _loglikelihood_tokens(self, requests: list[Any], **_: object) -> list[tuple[float, bool]]:
        raise NotImplementedError("this model takes text: call loglikelihood")

    def _log_likelihood(self, context: str, continuation: str) -> LogLikelihood:
        return LogLikelihood(context, continuation, self._templated)

    def _generation(self, prompt: str, options: dict[str, Any]) -> Generation:
        recognized = dict(normalize_gen_kwargs(options, MAX_NEW_TOKENS))
        recognized.pop("do_sample", None)
        stops, limit, temperature = (
            recognized.pop("until"),
            recognized.pop("max_gen_toks"),
            recognized.pop("temperature", 0.0),
        )
        if recognized:
            raise ValueError(f"generation options {recognized}: not supported here. Take them out of the task.")
        generation = Generation(prompt, tuple(stop for stop in stops if stop), limit, float(temperature))
        return replace(generation, form="templated") if self._templated else generation

    def _ask(self, questions: Sequence[Sequence[Request]]) -> list[list[Any]]:
        return answer(questions, self._source, self._journal, self._context, self._execution)


def _document(instance: Instance, number: int) -> tuple[Any, ...]:
    """The key of the document that requests belong to; `number` distinguishes requests that name no document."""
    return (number,) if instance.doc_id is None else (instance.task_name, instance.doc_id)
