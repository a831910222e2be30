"""Whether a checkpoint is asked in the chat template of its tokenizer, or as a text that it continues.

Every tokenizer that a run trains has a template, and a pretraining checkpoint has never seen one: asked in it, it
answers worse than it can.
"""

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from pipelines.models.source import ModelSource

Chat = Literal["never", "auto", "always"]
"""`auto`: in the chat if the checkpoint was fine-tuned in it; of a Hugging Face model, if its tokenizer has a
template."""
CHATS: tuple[Chat, ...] = get_args(Chat)


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


def require_system_role(source: "ModelSource") -> None:
    """Raise ValueError if the chat template of `source` refuses a system prompt or leaves it out."""
    from pipelines.artifacts.tokenization.chat_template import TemplateError
    from pipelines.models.loading import load_codec

    prompt = "Answer in one word."
    try:
        text = load_codec(source).chat([{"role": "system", "content": prompt}, {"role": "user", "content": "Why?"}])
    except TemplateError:
        text = ""
    if prompt not in text:
        raise ValueError(
            f"{source.tokenizer_folder}: its chat template has no place for a system prompt. Ask without one, or with "
            '--chat never (chat = "never" in a recipe).'
        )
