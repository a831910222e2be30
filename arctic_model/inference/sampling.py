"""The choice of the next id: the likeliest, or a draw that follows from the request alone."""

import hashlib
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from arctic_errors import UserError


class GenerationError(UserError, ValueError):
    """A request that cannot be answered: the message names the field, the value and the remedy."""


@dataclass(frozen=True)
class Sampling:
    """How ids are chosen.

    Args:
        temperature: 0 takes the likeliest id; otherwise ids are drawn from `softmax(logits / temperature)`.
        top_p: draws among the likeliest ids that together have this probability (Holtzman et al. 2020, arXiv
            1904.09751).
        top_k: samples from this many of the likeliest ids; 0 for all.
        min_p: draws among ids at least this share as probable as the likeliest (Nguyen et al. 2024, arXiv 2407.01082).
        seed: names the draws. Equal requests with equal seeds give equal ids, in any batch.

    Raises:
        GenerationError: if a number is out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: str = "0"

    def __post_init__(self) -> None:
        ranges = {
            "temperature": (self.temperature >= 0, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0, for all ids, or more"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
        }
        for name, (fits, words) in ranges.items():
            if not fits:
                raise GenerationError(f"{name} = {getattr(self, name):g}: must be {words}. Change the value.")


GREEDY = Sampling()
"""The likeliest id, always."""


def choose(logits: Float[Tensor, " V"], sampling: Sampling, number: int) -> int:
    """Id `number` of an answer: the likeliest at temperature 0, else the one that its random number selects.

    Raises:
        GenerationError: if the logits are not finite.
    """
    require_finite(logits)
    if sampling.temperature == 0:
        return int(logits.argmax())
    cumulative = probabilities(logits.double().cpu(), sampling).cumsum(-1)
    point = _uniform(f"{sampling.seed}/{number}") * cumulative[-1]
    return min(int(torch.searchsorted(cumulative, point, right=True)), len(logits) - 1)


def require_finite(logits: Float[Tensor, "... V"]) -> None:
    """Raise GenerationError if the logits are not finite."""
    # One sum is read instead of a flag for each id.
    if not math.isfinite(float(logits.sum())):
        raise GenerationError(
            "the model's logits are not finite: its weights have diverged. Use an earlier checkpoint."
        )


def probabilities(logits: Float[Tensor, " V"], sampling: Sampling) -> Float[Tensor, " V"]:
    """Of each id at a temperature above 0; those that top_k, top_p or min_p leave out get none."""
    weights = (logits / sampling.temperature).softmax(-1)
    if 0 < sampling.top_k < len(weights):
        weights = weights * (weights >= weights.topk(sampling.top_k).values[-1])
    if sampling.top_p < 1:
        weights = weights * _nucleus(weights / weights.sum(), sampling.top_p)
    if sampling.min_p > 0:
        weights = weights * (weights >= sampling.min_p * weights.max())
    return weights / weights.sum() if weights.count_nonzero() < len(weights) else weights


def _nucleus(weights: Tensor, top_p: float) -> Tensor:
    """True for the likeliest ids up to the one with which their sum reaches `top_p`."""
    ordered, order = weights.sort(descending=True, stable=True)
    inside = ordered.cumsum(-1) - ordered < top_p
    return torch.zeros_like(inside).scatter(0, order, inside)


def _uniform(name: str) -> float:
    """A number in [0, 1) that follows from `name`."""
    return (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 11) / 2**53
