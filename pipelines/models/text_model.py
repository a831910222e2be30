"""A model with its tokenizer; a checkpoint of this project as one."""

from typing import Protocol

from arctic_model.inference.arctic_decoder import ArcticDecoder
from arctic_model.inference.language_model import LanguageModel
from arctic_model.inference.streaming import StreamDecoder, StreamWindow
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from pipelines.models.codec import TextCodec
from pipelines.models.source import ModelSource


class TextModel(LanguageModel, Protocol):
    """A LanguageModel and the codec of its ids."""

    codec: TextCodec


class ArcticLM(ArcticDecoder):
    """TextModel of a checkpoint of this project. Raises ValueError or CheckpointError if its files cannot be read."""

    def __init__(self, source: ModelSource, codec: TextCodec, group: ExpertGroup | None = None) -> None:
        self.codec = codec
        super().__init__(_read(source, codec, group))


class StreamLM(StreamDecoder):
    """`ArcticLM` whose texts have no end. Raises also GenerationError if the window exceeds the model's positions."""

    def __init__(self, source: ModelSource, codec: TextCodec, window: StreamWindow) -> None:
        self.codec = codec
        super().__init__(_read(source, codec), window)


def _read(source: ModelSource, codec: TextCodec, group: ExpertGroup | None = None) -> ArcticModel:
    model = source.read_weights(group)
    num_ids = max(codec.vocabulary.values()) + 1
    if num_ids > model.config.vocab_size:
        raise ValueError(
            f"{source.tokenizer_folder}: its {num_ids} ids are more than the {model.config.vocab_size} of "
            f"{source.checkpoint}. Name the tokenizer of that model."
        )
    return model
