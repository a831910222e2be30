"""Chat templates in Hugging Face's format: render messages as text, and find the assistant's part of it."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from arctic_errors import ArcticError

OPEN, CLOSE = "\ufdd0", "\ufdd1"
"""Marks around the assistant's part of a rendered template, until the text is parsed. Unicode keeps both for such
use."""
BEGUN = "\ufdd2"
"""Mark at the end of a message that the model goes on from."""
Messages = Sequence[Mapping[str, str]]
"""Turns of a chat, each with `role` and `content`."""


class TemplateError(ArcticError, ValueError):
    """A chat template does not render a conversation, or does not mark the assistant's turns."""


class Rendered(NamedTuple):
    """The text of a conversation, and first character and end of each turn of the assistant."""

    text: str
    spans: list[tuple[int, int]]


class ChatTemplate:
    """A chat template. Raises TemplateError if it cannot be read.

    >>> chatml = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>\\n{% endfor %}"
    >>> chatml += "{% if add_generation_prompt %}<assistant>{% endif %}"
    >>> chat = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
    >>> ChatTemplate(chatml).render_spans(chat)
    Rendered(text='<user>2 + 2?</>\\n<assistant>4</>\\n', spans=[(27, 31)])
    """

    def __init__(self, source: str) -> None:
        # The settings of Hugging Face's own renderer.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.globals["raise_exception"] = _raise
        self._has_markers = "generation" in source and "endgeneration" in source
        try:
            self._template = environment.from_string(source)
        except JinjaError as error:
            raise TemplateError(f"the chat template cannot be read: {error}. Correct it.") from None

    def render(self, messages: Messages, *, add_generation_prompt: bool = False) -> str:
        """The text of `messages`, with the beginning of the assistant's next turn if asked for."""
        return self._render(messages, add_generation_prompt).replace(OPEN, "").replace(CLOSE, "")

    def render_begun(self, messages: Messages) -> str:
        """The text of `messages` up to the end of the last, which the model goes on from.

        Raises:
            TemplateError: The template leaves the last message out.
        """
        *before, last = messages
        text = self.render([*before, {**last, "content": f"{last['content']}{BEGUN} "}])
        begun, mark, behind = text.rpartition(BEGUN)
        if not mark or last["content"].strip() not in begun:
            raise TemplateError("the chat template leaves out the message to go on from. Let it have all messages.")
        # A template that strips messages would strip this one too.
        return begun if behind.startswith(" ") else begun.rstrip()

    def render_spans(self, messages: Messages) -> Rendered:
        """The text of `messages`, and the spans of the assistant's turns in it: the answer to generate, with its end
        mark.

        They are the text between `{% generation %}` and `{% endgeneration %}`. In a template without these markers, a
        turn is the text that it adds to its prompt.

        Raises:
            TemplateError: The template has no markers and renders a turn otherwise once the conversation goes on.
        """
        if self._has_markers:
            return _unmarked(self._render(messages, False))
        text = self._render(messages, False)
        return Rendered(text, [self._span(text, messages, turn) for turn in _answers(messages)])

    def _span(self, text: str, messages: Messages, turn: int) -> tuple[int, int]:
        prompt = self._render(messages[:turn], True)
        answered = self._render(messages[: turn + 1], False)
        if not (text.startswith(answered) and answered.startswith(prompt)):
            raise TemplateError(
                "the chat template renders a turn otherwise once the conversation goes on, so the assistant's turn "
                "cannot be read from it. Put {% generation %} and {% endgeneration %} around the assistant's turn."
            )
        # Blank lines behind the end of the turn belong to the template: an answer has ended before them.
        return len(prompt), len(answered.rstrip())

    def _render(self, messages: Messages, add_generation_prompt: bool) -> str:
        try:
            return self._template.render(messages=messages, add_generation_prompt=add_generation_prompt)
        except JinjaError as error:
            raise TemplateError(f"the chat template does not take the conversation: {error}") from None


class _Generation(Extension):
    """The block `generation` of Hugging Face's templates."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own attribute

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_enclosed"), [], [], body).set_lineno(line)

    def _enclosed(self, caller: Callable[[], str]) -> str:
        return f"{OPEN}{caller()}{CLOSE}"


def _raise(message: str) -> Any:
    raise JinjaError(message)


def _answers(messages: Messages) -> list[int]:
    return [number for number, message in enumerate(messages) if message["role"] == "assistant"]


def _unmarked(marked: str) -> Rendered:
    parts = marked.replace(CLOSE, OPEN).split(OPEN)
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + len(part))
    # Every second part is the assistant's.
    return Rendered("".join(parts), [span for number, span in enumerate(pairwise(ends)) if number % 2])
