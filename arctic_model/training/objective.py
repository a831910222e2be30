"""The objective of a step, as sums that add up over micro-batches and workers."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.layer import ForwardPolicy
from arctic_model.model import ArcticModel
from arctic_model.moe.balance import RouterSums, balance_loss, no_routers, router_sums, z_loss
from arctic_model.training.loss import head_nll
from arctic_model.training.optimization import Optimization

NO_CORPORA = torch.zeros(0, 1, dtype=torch.bool)


class Batch(NamedTuple):
    """One forward pass of one worker, all [B, T]: int64 ids and positions, int32 segments, int64 targets (-1: none).

    `corpora` [C, B] is True for the corpus of each sequence; without rows there are no losses by corpus.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    targets: Tensor
    corpora: Tensor = NO_CORPORA


class Scale(NamedTuple):
    """Divisors that turn sums into means: `predicted` tokens and `tokens` (without padding) of the whole step, over all
    workers; and the `load` [L, E] to balance against, in assignments per token."""

    predicted: float
    tokens: float
    load: Tensor


class StepSums(NamedTuple):
    """Negative log-likelihood [], the router's sums, and by corpus [C] the negative log-likelihood and the predicted
    tokens."""

    nll: Tensor
    router: RouterSums
    corpus_nll: Tensor
    corpus_predicted: Tensor


def training_loss(
    model: ArcticModel, batch: Batch, scale: Scale, settings: Optimization
) -> tuple[Float[Tensor, ""], Float[Tensor, " S"]]:
    """This pass's part of the loss of the step, and its sums as one float64 vector (see `unpacked`).

    The balance loss takes f, the load of the experts, from the step before (zeros before the first step: no gradient),
    and P, which carries the gradient, from this pass. So f covers the whole batch of a step, the loss does not depend
    on the number of workers or passes, and no layer waits for a collective. Batch-wide f: Qiu et al. 2025 (arXiv
    2501.11873); from the step before: as Wang et al. 2024 (2408.15664) correct their bias.
    """
    policy = ForwardPolicy(settings.capacity_factor, settings.activation_checkpointing)
    hidden, routing = model.hidden_states(batch.ids, batch.positions, batch.segments, policy=policy)
    nll, token_nll = head_nll(hidden.flatten(0, 1), model.lm_head.weight, batch.targets.flatten())
    loss, router = nll / scale.predicted, no_routers(nll.device)
    if routing is not None:
        router = router_sums(routing, (batch.segments >= 0).flatten())
        balance = balance_loss(scale.load, router.probabilities, scale.tokens)
        loss = loss + settings.balance_loss_coefficient * balance
        loss = loss + settings.z_loss_coefficient * z_loss(router.z, scale.tokens)
    by_corpus = (
        # `where` instead of a product: a loss that is not finite must not reach the sums of other corpora.
        torch.where(batch.corpora, by_sequence.double(), 0.0).sum(dim=1)
        for by_sequence in (token_nll.view_as(batch.targets).sum(dim=1), (batch.targets >= 0).sum(dim=1))
    )
    return loss, _packed(StepSums(nll, router, *by_corpus))


def num_sums(num_layers: int, num_experts: int, num_corpora: int) -> int:
    """Length of the vector that `training_loss` returns, for `num_layers` layers with experts."""
    return 1 + num_layers * (2 * num_experts + 3) + 2 * num_corpora


def unpacked(vector: Float[Tensor, " S"], num_layers: int, num_experts: int, num_corpora: int) -> StepSums:
    """The sums in a vector of `training_loss`, or in a sum of such vectors."""
    table = num_layers * num_experts
    sizes = [1, table, table, *[num_layers] * 3, num_corpora, num_corpora]
    nll, probabilities, assignments, *columns, corpus_nll, corpus_predicted = vector.split(sizes)
    shape = (num_layers, num_experts)
    router = RouterSums(probabilities.view(shape), assignments.view(shape), *columns)
    return StepSums(nll[0], router, corpus_nll, corpus_predicted)


def counts(batches: list[Batch]) -> Float[Tensor, "2"]:
    """Predicted tokens, and tokens without padding, of one worker's passes."""
    predicted = sum(int((batch.targets >= 0).sum()) for batch in batches)
    tokens = sum(int((batch.segments >= 0).sum()) for batch in batches)
    return torch.tensor([predicted, tokens], dtype=torch.float64)


def _packed(sums: StepSums) -> Tensor:
    return torch.cat([part.detach().flatten().double() for part in (sums.nll, *sums.router, *sums[2:])])
