"""Ask a model about documents: every answer is on disk before it is used, and no question is asked twice."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from infra.budget import stop_if_asked
from infra.context import StageContext
from infra.stage import digest
from infra.store.journal import Journal
from pipelines.annotate.answers import AnswerError, AnswerField, answer_schema, parse_answer
from pipelines.annotate.budget import Budget, Limits, most_of
from pipelines.models.openai_client import RequestRefusedError, complete

_BRACES = re.compile(r"\{\{|\}\}|\{(\w+)\}")


class Annotation(Limits, Protocol):
    """The question about documents, and the limits of its cost; see `AnnotateSection`."""

    @property
    def model(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def system(self) -> str: ...
    @property
    def answer(self) -> Mapping[str, AnswerField]: ...
    @property
    def max_characters(self) -> int: ...
    @property
    def max_answer_tokens(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def response_format(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def num_concurrent_requests(self) -> int: ...
    @property
    def timeout_s(self) -> float: ...


@dataclass(frozen=True)
class Outcome:
    """The result of asking about one document. `labels`: the values of the answer that fits, or None with the `problem`
    of the last one; `requests`: the key and the record of each request, in their order."""

    labels: Mapping[str, Any] | None
    problem: str | None
    requests: tuple[tuple[str, Mapping[str, Any]], ...]


class Asker:
    """Asks the server of `annotation`, as long as the stage is not asked to stop. `paid`: records of earlier results by
    key; `journal`: takes the new ones."""

    def __init__(
        self, annotation: Annotation, journal: Journal, paid: Mapping[str, Mapping[str, Any]], context: StageContext
    ) -> None:
        self.budget = Budget(annotation)
        self._annotation = annotation
        self._context = context
        self._journal = journal
        self._paid = paid
        self._under_way: dict[str, Future[Mapping[str, Any]]] = {}
        self._lock = threading.Lock()
        for record in journal.values():
            self.budget.spend(record)

    def ask(self, documents: Sequence[Mapping[str, Any]]) -> Iterator[Outcome]:
        """The outcome of each document, in their order. Raises ServerError, AnnotateError, and StoppedError before the
        next request; pending answers are still saved."""
        with ThreadPoolExecutor(self._annotation.num_concurrent_requests) as pool:
            futures = [pool.submit(self._outcome, document) for document in documents]
            try:
                for future in futures:
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

    def _outcome(self, document: Mapping[str, Any]) -> Outcome:
        requests: list[tuple[str, Mapping[str, Any]]] = []
        problem = None
        for attempt in range(self._annotation.attempts):
            key, record = self._record(_request(self._annotation, document, attempt))
            requests.append((key, record))
            try:
                return Outcome(_labels(record, self._annotation), None, tuple(requests))
            except AnswerError as error:
                problem = str(error)
            if record["refused"]:
                break
        return Outcome(None, problem, tuple(requests))

    def _record(self, request: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """The key and the record of a request, which documents of equal text share."""
        key = digest(request)
        with self._lock:
            if key in self._paid:
                return key, self._paid[key]
            if key in self._journal:
                return key, self._journal[key]
            under_way = self._under_way.get(key)
            if under_way is None:
                own = self._under_way[key] = Future()
        if under_way is not None:
            return key, under_way.result()
        try:
            own.set_result(self._send(key, request))
        except BaseException as error:
            own.set_exception(error)
            raise
        return key, own.result()

    def _send(self, key: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        with self.budget.reserved(most_of(request)):
            stop_if_asked(self._context, 1)
            record = _answer(self._annotation, request)
            with self._lock:
                self._journal.add({key: record})
            self.budget.spend(record)
        return record


def _request(annotation: Annotation, document: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """The body of a request, which alone decides whether two requests are the same."""
    shown = {"text": document["text"][: annotation.max_characters], "url": document["url"]}
    messages = [{"role": "user", "content": _fill(annotation.prompt, shown)}]
    if annotation.system:
        messages.insert(0, {"role": "system", "content": annotation.system})
    request = {
        "model": annotation.model,
        "messages": messages,
        "max_tokens": annotation.max_answer_tokens,
        "temperature": annotation.temperature,
        "seed": annotation.seed + attempt,
    }
    if annotation.response_format == "json_schema":
        schema = {"name": "answer", "strict": True, "schema": answer_schema(annotation.answer)}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    return request


def _fill(prompt: str, shown: Mapping[str, str]) -> str:
    """`prompt` with the fields of a document; braces within these stay as they are."""
    return _BRACES.sub(lambda match: shown[match[1]] if match[1] else match[0][0], prompt)


def _answer(annotation: Annotation, request: Mapping[str, Any]) -> dict[str, Any]:
    """The server's answer as plain data. Raises ServerError, unless it refuses just this request."""
    try:
        completion = complete(f"{annotation.server}/chat/completions", request, annotation.timeout_s)
    except RequestRefusedError as error:
        return {"text": "", "finish": "", "refused": error.reason, "prompt_tokens": 0, "answer_tokens": 0}
    return {**asdict(completion), "refused": ""}


def _labels(record: Mapping[str, Any], annotation: Annotation) -> dict[str, Any]:
    """Raises AnswerError."""
    if record["refused"]:
        raise AnswerError(f"the server refuses it: {record['refused']}")
    try:
        return parse_answer(record["text"], annotation.answer)
    except AnswerError as error:
        if record["finish"] == "length":
            raise AnswerError(f"cut off at max_answer_tokens = {annotation.max_answer_tokens}") from error
        raise
