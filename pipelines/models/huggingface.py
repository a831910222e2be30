"""A Hugging Face directory as a language model: local files, safetensors, no code but the library's own."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jinja2 import TemplateError as JinjaError
from torch import Tensor

from arctic_model.inference.language_model import SlotCache, added_mask
from infra.host.packages import broken, require
from pipelines.artifacts.tokenization.chat_template import Messages, TemplateError
from pipelines.artifacts.tokenization.tokenizer import switch_off_sampling
from pipelines.models.codec import TextCodec
from pipelines.models.source import STORED, ModelSource

TOLERANCE = {torch.float32: 1e-3}
"""Of the largest logit, between two ways of reading the same ids; 0.05 in types of fewer digits."""
LOCAL = {"local_files_only": True, "trust_remote_code": False}


class HuggingFaceCodec:
    """TextCodec of a tokenizer of `transformers`. Raises ValueError if it cannot be loaded."""

    def __init__(self, source: ModelSource) -> None:
        library = _library(source)
        folder = source.tokenizer_folder
        try:
            self._tokenizer = library.AutoTokenizer.from_pretrained(folder, **LOCAL)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{folder}: transformers reads no tokenizer from it ({error}). Name its folder."
            ) from error
        if backend := getattr(self._tokenizer, "backend_tokenizer", None):
            switch_off_sampling(backend)
        begin, end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if end is None:
            raise ValueError(f"{folder}: its tokenizer has no eos_token. Name one in tokenizer_config.json.")
        self.template: str | None = self._tokenizer.chat_template
        self.prefix_id = end if begin is None else begin
        self._prefix = self._tokenizer.decode([self.prefix_id])
        self.end_ids = frozenset({end} | _generation_ends(library, source))
        self._num_ids = source.vocabulary_size
        self._checkpoint = source.checkpoint

    @property
    def vocabulary(self) -> Mapping[str, int]:
        added = self._tokenizer.get_added_vocab()
        return {token: number for token, number in self._tokenizer.get_vocab().items() if token not in added}

    def encode(self, text: str, *, begin: bool = True, marks: bool = False) -> list[int]:  # noqa: ARG002
        """As lm-evaluation-harness: special tokens written in a text are always read as such, and one that begins with
        the prefix gets no second one."""
        add_prefix = begin and not text.startswith(self._prefix)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_prefix)
        if self._num_ids is not None and max(ids, default=0) >= self._num_ids:
            token = self._tokenizer.convert_ids_to_tokens(max(ids))
            raise ValueError(
                f"{self._tokenizer.name_or_path}: a text holds {token!r}, whose id {max(ids)} is beyond the "
                f"{self._num_ids} of {self._checkpoint}. Name the tokenizer of that model."
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def chat(self, messages: Messages, *, begun: bool = False) -> str:
        if self.template is None:
            raise ValueError(f"{self._tokenizer.name_or_path}: its tokenizer has no chat template. Ask without one.")
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=not begun, continue_final_message=begun
            )
        except (JinjaError, ValueError) as error:  # a ValueError if the begun message is left out
            raise TemplateError(f"the chat template does not take the conversation: {error}") from None
        return text


class HuggingFaceLM:
    """TextModel of a causal model of `transformers`. Raises ValueError if it cannot be loaded."""

    streams = False
    keeps_parts_apart = False

    def __init__(self, source: ModelSource) -> None:
        self.codec: TextCodec = HuggingFaceCodec(source)
        self.device = torch.device(source.device)
        self._model = _load(source)
        config = self._model.config.get_text_config()
        self.vocab_size = int(config.vocab_size)
        self.max_positions = int(config.max_position_embeddings)
        self._keeps = "logits_to_keep" in inspect.signature(self._model.forward).parameters
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        self.sees_masks = True
        self.sees_masks = (
            kinds == {"full_attention"} and not getattr(config, "sliding_window", None) and self._reads_trees()
        )

    @torch.inference_mode()
    def new_cache(self, num_slots: int, capacity: int) -> SlotCache:
        from pipelines.models.huggingface_cache import GrowingCache, new_slots

        if not self.sees_masks:
            return GrowingCache(self._model.config)
        return new_slots(self._model, torch.tensor([[1]], device=self.device), num_slots, capacity)

    def logits(self, ids: Tensor, positions: Tensor, mask: Tensor, keep: Tensor, cache: Any = None) -> Tensor:
        options: dict[str, Any] = {"use_cache": cache is not None}
        if cache is not None:
            from pipelines.models.huggingface_cache import library_cache

            options["past_key_values"] = library_cache(cache)
        if self.sees_masks:
            options |= {"attention_mask": mask.to(self._model.dtype), "position_ids": positions}
        if self._keeps and len(ids) == 1:
            logits: Tensor = self._model(ids, logits_to_keep=keep, **options).logits[0]
            return logits.float()
        logits = self._model(ids, **options).logits.flatten(0, 1)[keep]
        return logits.float()

    @torch.inference_mode()
    def _reads_trees(self) -> bool:
        """Whether two continuations of one context, computed side by side under a mask, have the same result as each
        alone.
        """
        ids = torch.tensor([[1, 2, 3, 4, 2, 5]], device=self.device)
        positions = torch.tensor([[0, 1, 2, 3, 2, 3]], device=self.device)
        visible = torch.ones(6, 6, dtype=torch.bool, device=self.device).tril()
        visible[4:, 2:4] = False
        try:
            shared = self.logits(ids, positions, added_mask(visible)[None, None], torch.tensor([3, 5]).to(ids))
        except (ValueError, RuntimeError, TypeError):
            return False
        alone = torch.stack([self._model(ids[:, rows]).logits[0, -1].float() for rows in ([0, 1, 2, 3], [0, 1, 4, 5])])
        error = (shared - alone).abs().max() / alone.abs().max()
        return bool(error < TOLERANCE.get(self._model.dtype, 0.05))


def _library(source: ModelSource) -> Any:
    user = f"{source.checkpoint}: a Hugging Face model"
    require(source.packages, user)
    try:
        import transformers
    except ImportError as error:
        raise broken("transformers", user, error) from error
    return transformers


def _load(source: ModelSource) -> Any:
    try:
        model = _library(source).AutoModelForCausalLM.from_pretrained(
            source.checkpoint, dtype=_dtype(source), use_safetensors=True, **LOCAL
        )
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{source.checkpoint}: transformers cannot load it ({error}). It must hold config.json and *.safetensors "
            "of an architecture that the library itself has."
        ) from error
    return model.eval().to(source.device)


def _dtype(source: ModelSource) -> torch.dtype:
    # transformers rounds every result to the dtype of the weights, and on a CPU it is slower for that.
    dtype: torch.dtype = torch.float32 if source.dtype == STORED else getattr(torch, source.dtype)
    return dtype


def _generation_ends(library: Any, source: ModelSource) -> set[int]:
    """The end ids of generation_config.json, if there is one."""
    if not (source.checkpoint / "generation_config.json").is_file():
        return set()
    ends = library.GenerationConfig.from_pretrained(source.checkpoint, local_files_only=True).eos_token_id
    return set([ends] if isinstance(ends, int) else ends or [])
