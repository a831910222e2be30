"""Who answers the questions of an evaluation: a checkpoint, stored answers, or a server."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from infra.context import StageContext
from infra.store.journal import Journal
from pipelines.evaluate.asking.chat import Chat
from pipelines.evaluate.engine.requests import Answer, Request
from pipelines.evaluate.task import Item


class Training(NamedTuple):
    """Steps and tokens that a checkpoint was trained on, and its active parameters; zeros if they are not known."""

    step: int
    tokens: int
    active_parameters: int


class Respondent(Protocol):
    """Who answers. `template`: digest of the chat template; `engine`: with its version, if the model is not computed by
    this package or `transformers`, else ""; `training`: of the checkpoint; `seconds`: duration of the forward passes
    for its answers, under the first request of those that were computed together."""

    @property
    def template(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def training(self) -> Training: ...
    @property
    def seconds(self) -> Mapping[Request, float]: ...

    def asked_in_chat(self, chat: Chat) -> bool:
        """Whether questions are asked in the chat template. Raises ValueError if they should be and cannot."""

    def refusal(self, roles: Sequence[str]) -> str:
        """Why a conversation of `roles` cannot be asked in the chat; "" if it can."""

    def answer(self, asked: Sequence[tuple[str, Item]], journal: Journal, context: StageContext) -> list[list[Answer]]:
        """The answers to the requests of each item, which comes with the name of its task."""
