"""Whether a checkpoint is asked in the chat template of its tokenizer, or as a text that it continues.

Every tokenizer that a run trains has a template, and a pretraining checkpoint has never seen one: asked in it, it
answers worse than it can.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from pipelines.evaluate.engine.requests import SYSTEM, Generation

if TYPE_CHECKING:
    from pipelines.models.codec import TextCodec
    from pipelines.models.source import ModelSource

Chat = Literal["never", "auto", "always"]
"""`auto`: in the chat if the checkpoint was fine-tuned in it; of a Hugging Face model, if its tokenizer has a
template."""
CHATS: tuple[Chat, ...] = get_args(Chat)
SYSTEM_PROMPT = (SYSTEM, "user")
"""Roles of a question behind a system prompt."""
REMEDY = 'Leave that out, or ask with --chat never (chat = "never" in a recipe).'
"""If a model has no place for a conversation."""


def asked_in_chat(source: "ModelSource", chat: Chat) -> bool:
    """Whether `source` is asked in its chat template. Raises ValueError if its tokenizer cannot be read, or has no
    template and `chat` is "always"."""
    # torch takes seconds to import, and building the graph of a run must not.
    from pipelines.models.loading import load_codec

    if chat == "never":
        return False
    has_template = load_codec(source).template is not None
    if chat == "always" and not has_template:
        raise ValueError(
            f'{source.tokenizer_folder}: its tokenizer has no chat template, which chat = "always" asks for. Use '
            '"auto", or add chat_template to its tokenizer_config.json.'
        )
    return has_template and (chat == "always" or source.is_chat_model)


def probe(roles: Sequence[str]) -> Generation:
    """A conversation of `roles`, each with a text of its own; an assistant's at the end is begun."""
    turns = [(role, f"Text {number} of the {role}.") for number, role in enumerate(roles)]
    opening = turns.pop()[1] if roles[-1] == "assistant" else ""
    *before, (_, prompt) = turns
    return Generation(prompt, (), 1, form="message", turns=tuple(before), opening=opening)


def refusal(source: "ModelSource", roles: Sequence[str]) -> str:
    """Why no conversation of `roles` can be asked in the chat template of `source`: it refuses a role or their order,
    or leaves out a text. "" if it can."""
    from pipelines.models.loading import load_codec

    codec = load_codec(source)
    if _takes(codec, roles):
        return ""
    others = [role for role in roles if role != SYSTEM]
    is_systemless = len(others) < len(roles) and _takes(codec, others)
    part = "a system prompt" if is_systemless else f"turns of {', '.join(roles)}"
    return f"{source.tokenizer_folder}: its chat template has no place for {part}. {REMEDY}"


def _takes(codec: "TextCodec", roles: Sequence[str]) -> bool:
    from pipelines.artifacts.tokenization.chat_template import TemplateError

    asked = probe(roles)
    try:
        text = codec.chat(asked.messages, begun=bool(asked.opening))
    except TemplateError:
        return False
    return all(message["content"] in text for message in asked.messages)
