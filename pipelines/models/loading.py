"""From a ModelSource to a model or its tokenizer: ours, or a Hugging Face directory."""

from pipelines.models.codec import ArcticCodec, TextCodec
from pipelines.models.source import ModelSource
from pipelines.models.text_model import ArcticLM, TextModel


def load_model(source: ModelSource) -> TextModel:
    """The model in evaluation mode. Raises ValueError or CheckpointError if it cannot be read."""
    if source.is_arctic:
        return ArcticLM(source, load_codec(source))
    source.require()
    # transformers is an optional package.
    from pipelines.models.huggingface import HuggingFaceLM

    return HuggingFaceLM(source)


def load_codec(source: ModelSource) -> TextCodec:
    """The tokenizer alone. Raises ValueError if it cannot be read."""
    if source.is_ours:
        return ArcticCodec(source.tokenizer_folder)
    from pipelines.models.huggingface import HuggingFaceCodec

    return HuggingFaceCodec(source)
