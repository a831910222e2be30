"""What a step minimises, as sums that add up over micro-batches and workers."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.loss import head_nll
from arctic_model.model import ArcticModel
from arctic_model.optimizer import Optimization
from arctic_model.router import RouterSums, balance_loss, router_sums, z_loss


class Batch(NamedTuple):
    """One forward pass of one worker, all [B, T]: int64 ids and positions, int32 segments, int64 targets (-1: none)."""

    ids: Tensor
    positions: Tensor
    segments: Tensor
    targets: Tensor


class Scale(NamedTuple):
    """What turns sums into means: predicted and real (not padding) tokens of the whole step, over all workers; and
    the load [L, E] to balance against, in assignments per token."""

    predicted: float
    tokens: float
    load: Tensor


class StepSums(NamedTuple):
    """Negative log-likelihood [] and the router's sums."""

    nll: Tensor
    router: RouterSums


def training_loss(
    model: ArcticModel, batch: Batch, scale: Scale, settings: Optimization
) -> tuple[Float[Tensor, ""], Float[Tensor, " S"]]:
    """This pass's share of the step's loss, and its sums as one float64 vector (see `unpacked`).

    The balance loss takes f, the experts' load, from the step before (zeros before the first, so that it has no
    gradient then), and P, through which its gradient flows, from this pass. So f covers the whole batch of a step,
    the loss does not depend on the number of workers or passes, and no layer waits for a collective. Batch-wide f:
    Qiu et al. 2025 (arXiv 2501.11873); from the step before: as Wang et al. 2024 (2408.15664) correct their bias.
    """
    hidden, logits, experts = model.hidden_states(batch.ids, batch.positions, batch.segments)
    nll = head_nll(hidden.flatten(0, 1), model.lm_head.weight, batch.targets.flatten())
    router = router_sums(logits, experts, (batch.segments >= 0).flatten())
    loss = (
        nll / scale.predicted
        + settings.balance_loss_coefficient * balance_loss(scale.load, router.probabilities, scale.tokens)
        + settings.z_loss_coefficient * z_loss(router.z, scale.tokens)
    )
    return loss, _packed(StepSums(nll, router))


def num_sums(num_layers: int, num_experts: int) -> int:
    """Length of the vector of `training_loss`."""
    return 1 + num_layers * (2 * num_experts + 1)


def unpacked(vector: Float[Tensor, " S"], num_layers: int, num_experts: int) -> StepSums:
    """The sums in the vector of `training_loss`, or in a sum of such vectors."""
    table = num_layers * num_experts
    nll, probabilities, assignments, z = vector.split([1, table, table, num_layers])
    shape = (num_layers, num_experts)
    return StepSums(nll[0], RouterSums(probabilities.view(shape), assignments.view(shape), z))


def counts(batches: list[Batch]) -> Float[Tensor, "2"]:
    """Predicted and real tokens of one worker's passes."""
    predicted = sum(int((batch.targets >= 0).sum()) for batch in batches)
    tokens = sum(int((batch.segments >= 0).sum()) for batch in batches)
    return torch.tensor([predicted, tokens], dtype=torch.float64)


def _packed(sums: StepSums) -> Tensor:
    parts = (sums.nll, sums.router.probabilities, sums.router.assignments, sums.router.z)
    return torch.cat([part.detach().flatten().double() for part in parts])
