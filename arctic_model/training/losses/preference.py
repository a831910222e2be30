"""The loss of pairs of answers, by direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290): segments
2 p and 2 p + 1 of a row are the chosen and the rejected side of pair p."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arctic_model.layers.embedding import RowChanges
from arctic_model.training.losses.cross_entropy import row_nll
from arctic_model.training.optimization.settings import Dpo


class Preferences(NamedTuple):
    """By row and pair, [B, P]: loss and implicit rewards, 0 if a row has fewer pairs, and which pairs exist."""

    loss: Float[Tensor, "B P"]
    chosen_reward: Float[Tensor, "B P"]
    rejected_reward: Float[Tensor, "B P"]
    is_pair: Bool[Tensor, "B P"]


def num_pairs(segments: Int[Tensor, "B T"]) -> int:
    """P: the most pairs of a row."""
    return (int(segments.max()) + 2) // 2


def pair_log_probs(
    hidden: Float[Tensor, "B T D"],
    head: Float[Tensor, "V D"],
    targets: Int[Tensor, "B T"],
    segments: Int[Tensor, "B T"],
    pairs: int,
    changes: RowChanges | None = None,
) -> Float[Tensor, "B P 2"]:
    """Log-probability of each answer, the sum over its targets, float64; NaN if a row has no such side.
    `changes`: see `head_nll`."""
    is_target = targets >= 0
    log_probs = -row_nll(hidden[is_target], head, targets[is_target], changes).double()
    rows = torch.arange(len(targets), device=targets.device).unsqueeze(-1)
    slots = (rows * 2 * pairs + segments)[is_target]
    empty = torch.zeros(len(targets) * 2 * pairs, dtype=torch.float64, device=targets.device)
    sums = empty.index_add(0, slots, log_probs)
    counts = empty.index_add(0, slots, torch.ones_like(log_probs))
    return torch.where(counts > 0, sums, torch.nan).view(len(targets), pairs, 2)


def preferences(log_probs: Float[Tensor, "B P 2"], reference: Float[Tensor, "B P 2"], dpo: Dpo) -> Preferences:
    """Loss and rewards of pairs (equation 7 of the paper, with smoothed labels).

    Args:
        log_probs: of the model that is trained, as `pair_log_probs` returns them.
        reference: of the start, likewise.
        dpo: the settings.
    """
    is_pair = ~reference.isnan().any(dim=-1)
    # A product with NaN would spoil the gradients of other pairs, so absent pairs are removed before.
    moved = torch.where(is_pair.unsqueeze(-1), log_probs - reference.nan_to_num(), 0.0)
    better, worse = (dpo.beta * moved).unbind(dim=-1)
    margin = better - worse
    loss = -(1 - dpo.label_smoothing) * F.logsigmoid(margin) - dpo.label_smoothing * F.logsigmoid(-margin)
    return Preferences(torch.where(is_pair, loss, 0.0), better, worse, is_pair)
