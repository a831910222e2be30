"""From a ModelSource to a model or its tokenizer: ours, or a Hugging Face directory."""

from arctic_model.inference.streaming import StreamWindow
from arctic_model.moe.dispatch import ExpertGroup
from pipelines.models.codec import ArcticCodec, TextCodec
from pipelines.models.source import ModelSource
from pipelines.models.text_model import ArcticLM, StreamLM, TextModel


def load_model(source: ModelSource, stream: StreamWindow | None = None, group: ExpertGroup | None = None) -> TextModel:
    """The model in evaluation mode; with `stream`, its texts have no end. The processes of `group` share its experts:
    all of them load and use it in step. Raises ValueError or CheckpointError if it cannot be read."""
    if source.is_supported:
        codec = load_codec(source)
        return StreamLM(source, codec, stream) if stream else ArcticLM(source, codec, group)
    source.require()
    if stream:
        raise ValueError(
            f"{source.checkpoint}: texts without end need an Arctic model, whose cache is ours. Remove --stream-window."
        )
    # transformers is an optional package.
    from pipelines.models.huggingface import HuggingFaceLM

    return HuggingFaceLM(source)


def load_codec(source: ModelSource) -> TextCodec:
    """The tokenizer alone. Raises ValueError if it cannot be read."""
    if source.is_ours:
        return ArcticCodec(source.tokenizer_folder)
    from pipelines.models.huggingface import HuggingFaceCodec

    return HuggingFaceCodec(source)
