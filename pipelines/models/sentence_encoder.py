"""An encoder of `transformers` that gives texts vectors: local files, safetensors, no code but the library's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Encoding

from infra.host.packages import broken, require
from pipelines.artifacts.tokenization.tokenizer import read_tokenizer
from pipelines.models.huggingface import LOCAL


class SentenceEncoder:
    """Vectors of texts, each by passes of its own over at most `max_tokens`, on one thread of a CPU in float32.

    Raises:
        PackageError: if transformers is missing.
        ValueError: if it cannot load the model in `folder`.
    """

    def __init__(self, folder: Path, max_tokens: int, pooling: Literal["mean", "cls"]) -> None:
        user = f"the embedding model in {folder}"
        require(["transformers"], user)
        try:
            from transformers import AutoModel
        except ImportError as error:
            raise broken("transformers", user, error) from error
        try:
            model: Any = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **LOCAL)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{folder}: transformers reads no model from it ({error}). Name another model.") from error
        self._model, self._pooling = model.eval(), pooling
        self._tokenizer = read_tokenizer(folder / "tokenizer.json")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self.width: int = model.config.hidden_size

    @torch.inference_mode()
    def embed(self, text: str) -> np.ndarray:
        """float64 [D]: the mean of the last states of all tokens, or of each pass' first state weighted by its tokens;
        zeros for a text without a token of its own. Raises ValueError if the vector is not finite."""
        encoding = self._tokenizer.encode(text)
        pieces = [encoding, *encoding.overflowing]
        if all(encoding.special_tokens_mask):
            return np.zeros(self.width)
        with one_thread():
            total = sum((self._sum(piece) for piece in pieces), np.zeros(self.width))
        vector: np.ndarray = total / sum(map(len, pieces))
        if not np.isfinite(vector).all():
            raise ValueError(f"the embedding of {text[:40]!r} is not finite: the model is damaged. Name another model.")
        return vector

    def _sum(self, piece: Encoding) -> np.ndarray:
        ids = torch.tensor([piece.ids])
        states = self._model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].double()
        summed = states.sum(0) if self._pooling == "mean" else states[0] * len(states)
        result: np.ndarray = summed.numpy()
        return result


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch uses one thread: sums in another order would round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
