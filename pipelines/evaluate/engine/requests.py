"""Requests of a task to a model, and the responses: plain data, which travels to actors and into the journal."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

SYSTEM = "system"
"""Role of the message that the whole conversation follows."""


@dataclass(frozen=True)
class LogLikelihood:
    """How probable `continuation` is after `context`. Both are encoded together, and split by lm-evaluation-harness's
    rule: blanks at the end of the context belong to the continuation. An empty context is the end token. A continuation
    that has no separate ids in that encoding is encoded alone.

    `templated`: the context came out of a chat template, so the special tokens written in it are read as such.
    """

    context: str
    continuation: str
    templated: bool = False


@dataclass(frozen=True)
class Generation:
    """The text after `prompt`, up to the first of `stops` (not included), the end token or `max_new_tokens`.

    Greedy at temperature 0. Otherwise `sample` numbers independent draws of the same prompt; a draw follows from the
    request alone, so it is the same in any batch. `form`: "plain" text; a "message" of a user, which is put into the
    tokenizer's chat template; or text that is "templated" already, as in LogLikelihood.

    Of a message only: `turns` before it, each a role and a text, such as a system prompt and answered examples; and the
    `opening` of the answer, which the model goes on from. It is no part of the answer.
    """

    prompt: str
    stops: tuple[str, ...]
    max_new_tokens: int
    temperature: float = 0.0
    sample: int = 0
    form: Literal["plain", "message", "templated"] = "plain"
    turns: tuple[tuple[str, str], ...] = ()
    opening: str = ""

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation that the answer ends, or goes on from if it is begun."""
        opening = (("assistant", self.opening),) if self.opening else ()
        return [{"role": role, "content": text} for role, text in (*self.turns, ("user", self.prompt), *opening)]

    @property
    def shown(self) -> str:
        """The prompt as people read it: of a conversation, each text behind its role."""
        if not (self.turns or self.opening):
            return self.prompt
        return "\n\n".join(f"{each['role']}: {each['content']}" for each in self.messages)


Request = LogLikelihood | Generation


class Likelihood(NamedTuple):
    """Natural log-probability of the continuation, and whether greedy decoding would write it. `num_truncated`: ids
    that were cut from the left of the context because the model has no positions for them.

    `encoded`: "together" with the context; "alone" if the continuation merges into the context's last id and so has no
    separate id there; "not" at all if the tokenizer gives it no id, and then the log-probability is -inf. `num_tokens`:
    ids of the continuation, None if that is not known.
    """

    log_probability: float
    is_greedy: bool
    num_truncated: int
    encoded: Literal["together", "alone", "not"] = "together"
    num_tokens: int | None = None


class Text(NamedTuple):
    """Generated text; why it ends; `num_truncated` as in Likelihood; `num_tokens`: ids that the model wrote, the end
    token among them."""

    text: str
    finish: Literal["stop", "end", "length"]
    num_truncated: int
    num_tokens: int | None = None


Answer = Likelihood | Text


def fields_of(request: Request) -> dict[str, Any]:
    """The fields of a request, without a conversation before it if there is none."""
    return {name: value for name, value in asdict(request).items() if value or name not in ("turns", "opening")}


def as_plain(request: Request) -> dict[str, Any]:
    """The request as plain data, which its digest is made of."""
    return {"kind": type(request).__name__, **fields_of(request)}


def answer_of(fields: Mapping[str, Any]) -> Answer:
    """The answer whose fields are in a journal."""
    return Text(**fields) if "text" in fields else Likelihood(**fields)


def text_of(answer: Answer) -> str:
    """The text of the answer to a Generation. Raises TypeError if it answers another kind of request."""
    if not isinstance(answer, Text):
        raise TypeError(f"{answer}: not the answer to a generation")
    return answer.text
