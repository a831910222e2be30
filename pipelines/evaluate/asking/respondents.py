"""Respondents that are at hand: a checkpoint, and answers that were stored."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from arctic_model.checkpoint.model_folder import CONFIG
from arctic_model.checkpoint.reading import STATE, Checkpoint
from arctic_model.sizing.flops import count_parameters
from infra.context import StageContext
from infra.store.integrity import require_intact
from infra.store.journal import Journal
from pipelines.artifacts.evaluation import SAMPLES_FILE, Scores
from pipelines.artifacts.formats.parquet import read_table
from pipelines.evaluate.asking.chat import Chat, asked_in_chat, refusal
from pipelines.evaluate.asking.protocol import Training
from pipelines.evaluate.engine.answering import answer
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.engine.requests import Answer, Likelihood, Request, Text, answer_of
from pipelines.evaluate.evaluation import asked
from pipelines.evaluate.task import DataError, Item
from pipelines.models.loading import load_codec
from pipelines.models.source import ModelSource

OF_ANSWERS = frozenset((*Text._fields, *Likelihood._fields))
"""Fields of a response of SAMPLES that are the answer's; the others are the request's."""


class CheckpointRespondent:
    """A checkpoint that answers on this machine or a cluster."""

    engine = ""

    def __init__(self, source: ModelSource, execution: Execution) -> None:
        self._source, self._execution = source, execution
        self.seconds: dict[Request, float] = {}

    @cached_property
    def template(self) -> str:
        return hashlib.sha256((load_codec(self._source).template or "").encode()).hexdigest()[:12]

    @cached_property
    def training(self) -> Training:
        if not self._source.is_ours:
            return Training(0, 0, 0)
        checkpoint = Checkpoint(self._source.checkpoint)
        require_intact(checkpoint.folder / CONFIG)
        active = count_parameters(checkpoint.config).active
        # One that ArcticModel.save_pretrained wrote has weights alone.
        if not (checkpoint.folder / STATE).is_file():
            return Training(0, 0, active)
        require_intact(checkpoint.folder / STATE)
        return Training(checkpoint.state.step, checkpoint.state.tokens, active)

    def asked_in_chat(self, chat: Chat) -> bool:
        return asked_in_chat(self._source, chat)

    def refusal(self, roles: Sequence[str]) -> str:
        return refusal(self._source, roles)

    def answer(self, asked: Sequence[tuple[str, Item]], journal: Journal, context: StageContext) -> list[list[Answer]]:
        questions = [item.requests for _, item in asked]
        return answer(questions, self._source, journal, context, self._execution, self.seconds)


class StoredRespondent:
    """The answers of an earlier evaluation, in its folder: they are judged again, and no model is needed.

    Raises DataError if a question was not asked then.
    """

    engine = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scores = Scores.read(folder)
        self.seconds: dict[Request, float] = {}

    @property
    def template(self) -> str:
        return self._scores.template

    @property
    def training(self) -> Training:
        return Training(self._scores.step, self._scores.tokens, self._scores.active_parameters)

    def asked_in_chat(self, chat: Chat) -> bool:  # noqa: ARG002 - the questions have been asked
        """As it was at that time, regardless of the current option."""
        return bool(self._scores.template)

    def refusal(self, roles: Sequence[str]) -> str:  # noqa: ARG002 - the questions have been asked
        return ""

    def answer(
        self,
        asked: Sequence[tuple[str, Item]],
        journal: Journal,  # noqa: ARG002 - nothing is computed that could be lost
        context: StageContext,  # noqa: ARG002
    ) -> list[list[Answer]]:
        columns = ["task", "item_id", "prompt", "responses"]
        rows = read_table(self._folder / SAMPLES_FILE, columns).to_pylist()
        stored = {(row["task"], row["item_id"]): row for row in rows}
        return [self._stored(stored.get((task, item.item_id)), task, item) for task, item in asked]

    def _stored(self, row: dict[str, str] | None, task: str, item: Item) -> list[Answer]:
        responses = json.loads(row["responses"]) if row else []
        now = json.loads(json.dumps([asked(item, request) for request in item.requests]))
        if row is None or row["prompt"] != item.prompt or [_asked_then(each) for each in responses] != now:
            raise DataError(
                f"{self._folder}: it has no answer to item {item.item_id} of {task} as it is asked now. Ask the "
                "checkpoint, or name only tasks and as many items as were asked then."
            )
        return [answer_of({name: each[name] for name in each.keys() & OF_ANSWERS}) for each in responses]


def _asked_then(response: dict[str, object]) -> dict[str, object]:
    """The request that a response of SAMPLES answers."""
    return {name: response[name] for name in response.keys() - OF_ANSWERS}
