"""A model with its tokenizer; a checkpoint of this project as one."""

from typing import Protocol

import torch

from arctic_model.inference.arctic_decoder import ArcticDecoder
from arctic_model.inference.language_model import LanguageModel
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
        with damage_named(source.checkpoint):
            model = ArcticModel.from_pretrained(source.checkpoint)
        super().__init__(model.to(torch.device(source.device), getattr(torch, source.dtype)))
        num_ids = max(codec.vocabulary.values()) + 1
        if num_ids > model.config.vocab_size:
            raise ValueError(
                f"{source.tokenizer_folder}: its {num_ids} ids are more than the {model.config.vocab_size} of "
                f"{source.checkpoint}. Name the tokenizer of that model."
            )
