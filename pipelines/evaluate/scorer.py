"""A checkpoint that scores and continues text, one thread, the same numbers every time. The stage's only torch."""

from collections.abc import Sequence
from pathlib import Path

import torch

from arctic_model.checkpoint import load_model
from arctic_model.generate import greedy
from arctic_model.loss import token_nll
from pipelines.artifacts.tokenizer import TextTokenizer
from pipelines.evaluate.heldout import ScoredPiece, padded
from pipelines.evaluate.sql_answers import extract_query, is_complete


class Scorer:
    """A model with its tokenizer."""

    def __init__(self, checkpoint: Path, tokenizer: TextTokenizer) -> None:
        # Sums split over another number of threads would differ in the last digits.
        torch.set_num_threads(1)
        self._model = load_model(checkpoint)
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def nll(self, pieces: Sequence[ScoredPiece]) -> list[float]:
        """Nats of all predicted ids of each piece, in one forward pass."""
        ids, positions, segments, targets = (torch.from_numpy(array) for array in padded(pieces))
        return token_nll(self._model(ids, positions, segments), targets).double().sum(dim=1).tolist()

    @torch.inference_mode()
    def write_query(self, prompt: str, max_new_tokens: int) -> str:
        """The query that the model puts after `prompt`, greedily; "" where it writes none.

        A prompt too long for the model's positions loses its beginning.
        """
        # Before a word the tokenizer keeps the space with the word, so a space alone at the end is never seen.
        ids = [self._tokenizer.end_id, *self._tokenizer.encode(prompt.rstrip(" "))]
        room = self._model.config.max_positions - max_new_tokens

        def stop(new_ids: list[int]) -> bool:
            return new_ids[-1] == self._tokenizer.end_id or is_complete(self._tokenizer.decode(new_ids))

        return extract_query(self._tokenizer.decode(greedy(self._model, ids[-room:], max_new_tokens, stop)))
