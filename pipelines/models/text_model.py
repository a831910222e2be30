"""A model with its tokenizer; a checkpoint of this project as one."""

from typing import Protocol

import torch

from arctic_model.inference.arctic_decoder import ArcticDecoder
from arctic_model.inference.language_model import LanguageModel
from arctic_model.inference.streaming import StreamDecoder, StreamWindow
from arctic_model.model import ArcticModel
from infra.store.integrity import damage_named
from pipelines.models.codec import TextCodec
from pipelines.models.source import ModelSource


class TextModel(LanguageModel, Protocol):
    """A LanguageModel and the codec of its ids."""

    codec: TextCodec


class ArcticLM(ArcticDecoder):
    """TextModel of a checkpoint of this project. Raises ValueError or CheckpointError if its files cannot be read."""

    def __init__(self, source: ModelSource, codec: TextCodec) -> None:
        self.codec = codec
        super().__init__(_read(source, codec))


class StreamLM(StreamDecoder):
    """`ArcticLM` whose texts have no end. Raises also GenerationError if the window exceeds the model's positions."""

    def __init__(self, source: ModelSource, codec: TextCodec, window: StreamWindow) -> None:
        self.codec = codec
        super().__init__(_read(source, codec), window)


def _read(source: ModelSource, codec: TextCodec) -> ArcticModel:
    with damage_named(source.checkpoint):
        model = ArcticModel.from_pretrained(source.checkpoint)
    num_ids = max(codec.vocabulary.values()) + 1
    if num_ids > model.config.vocab_size:
        raise ValueError(
            f"{source.tokenizer_folder}: its {num_ids} ids are more than the {model.config.vocab_size} of "
            f"{source.checkpoint}. Name the tokenizer of that model."
        )
    return model.to(torch.device(source.device), getattr(torch, source.dtype))
