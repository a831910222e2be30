"""From a ModelSource to a model or its tokenizer: ours, or a Hugging Face directory."""

from pipelines.evaluate.engine.models import LanguageModel, ModelSource, TextCodec


def load_model(source: ModelSource) -> LanguageModel:
    """The model in evaluation mode. Raises ValueError or CheckpointError if it cannot be read."""
    if source.is_arctic:
        from pipelines.evaluate.engine.own_model import ArcticLM

        return ArcticLM(source, load_codec(source))
    source.require()
    # transformers is an optional package.
    from pipelines.evaluate.engine.huggingface import HuggingFaceLM

    return HuggingFaceLM(source)


def load_codec(source: ModelSource) -> TextCodec:
    """The tokenizer alone. Raises ValueError if it cannot be read."""
    if source.is_ours:
        from pipelines.evaluate.engine.own_model import ArcticCodec

        return ArcticCodec(source.tokenizer_folder)
    from pipelines.evaluate.engine.huggingface import HuggingFaceCodec

    return HuggingFaceCodec(source)
