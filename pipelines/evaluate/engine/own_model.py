"""A checkpoint of this project as a language model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from torch import Tensor

from arctic_model.inference.next_token import next_state
from arctic_model.layers.attention import LayerCache
from arctic_model.model import ArcticModel
from infra.store.integrity import damage_named, read_committed
from pipelines.artifacts.tokenizer import CHAT_END, CONFIG_FILE, TOKENIZER_FILE, TextTokenizer, read_tokenizer
from pipelines.evaluate.engine.models import KeyValueCache, Messages, ModelSource, TextCodec


class ArcticCodec:
    """TextCodec of a run's tokenizer. Raises ValueError if its files cannot be read.

    Before a text stands the end token, which parts documents in training, where tokenizer_config.json has
    `add_bos_token`: other engines follow that too.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / TOKENIZER_FILE).is_file():
            raise ValueError(f"{folder}: holds no {TOKENIZER_FILE}. Name the folder of the tokenizer as well.")
        self._tokenizer = TextTokenizer(folder)
        self._marked = read_tokenizer(folder / TOKENIZER_FILE)
        self._marked.encode_special_tokens = False
        config = json.loads(read_committed(folder / CONFIG_FILE))
        self._begins = bool(config.get("add_bos_token", False))
        self._folder = folder
        self.template = config.get("chat_template")
        self.prefix_id = self._tokenizer.end_id
        chat_end = self._marked.token_to_id(CHAT_END)
        self.end_ids = frozenset({self.prefix_id} if chat_end is None else {self.prefix_id, chat_end})

    @property
    def vocabulary(self) -> Mapping[str, int]:
        return self._marked.get_vocab()

    def encode(self, text: str, *, begin: bool = True, marks: bool = False) -> list[int]:
        ids = self._marked.encode(text, add_special_tokens=False).ids if marks else self._tokenizer.encode(text)
        return [self.prefix_id, *ids] if begin and self._begins else ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)

    def chat(self, messages: Messages, *, add_generation_prompt: bool = True) -> str:
        if self.template is None:
            raise ValueError(f"{self._folder}: its tokenizer has no chat template. Ask without one.")
        # The settings of Hugging Face's own renderer.
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(self.template).render(
            messages=messages, add_generation_prompt=add_generation_prompt
        )


class ArcticLM:
    """LanguageModel of an `ArcticModel`. Raises ValueError or CheckpointError if its files cannot be read."""

    sees_masks = True

    def __init__(self, source: ModelSource, codec: TextCodec) -> None:
        self.codec = codec
        self.device = torch.device(source.device)
        with damage_named(source.checkpoint):
            model = ArcticModel.from_pretrained(source.checkpoint)
        self._model = model.to(self.device, getattr(torch, source.dtype))
        self.max_positions = self._model.config.max_positions
        num_ids = max(codec.vocabulary.values()) + 1
        if num_ids > self._model.config.vocab_size:
            raise ValueError(
                f"{source.tokenizer_folder}: its {num_ids} ids are more than the "
                f"{self._model.config.vocab_size} of {source.checkpoint}. Name the tokenizer of that model."
            )

    def new_cache(self, batch: int, capacity: int) -> "ArcticCache":
        return ArcticCache(self._model.new_caches(capacity, batch))

    def logits(
        self, ids: Tensor, positions: Tensor, mask: Tensor, keep: Tensor, cache: KeyValueCache | None = None
    ) -> Tensor:
        caches = cache.layers if isinstance(cache, ArcticCache) else None
        mask = mask.to(self._model.lm_head.weight.dtype)
        if caches and ids.numel() == 1 and self.device.type == "cpu":
            state = next_state(self._model, int(ids), int(positions), mask, caches)
            logits: Tensor = self._model.lm_head(state[None])[keep]
            return logits.float()
        states = self._model.hidden_states(ids, positions, torch.zeros_like(ids), caches, mask=mask)
        logits = self._model.lm_head(states.hidden.flatten(0, 1)[keep])
        return logits.float()


class ArcticCache:
    """KeyValueCache over the caches of all layers."""

    def __init__(self, layers: list[LayerCache]) -> None:
        self.layers = layers

    @property
    def length(self) -> int:
        return self.layers[0].length

    def truncate(self, length: int) -> None:
        for layer in self.layers:
            layer.length = length

    def select(self, rows: Tensor) -> None:
        self.layers = [replace(layer, keys=layer.keys[rows], values=layer.values[rows]) for layer in self.layers]
