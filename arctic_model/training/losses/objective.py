"""The objective of a step, as sums that add up over micro-batches and workers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.layer import ForwardPolicy
from arctic_model.layers.attention.context_parallel import WHOLE_SEQUENCES, ContextGroup, shared_context
from arctic_model.layers.embedding import RowChanges
from arctic_model.model import ArcticModel
from arctic_model.moe.balance import RouterSums, balance_loss, max_expert_load, no_routers, router_sums, z_loss
from arctic_model.training.lora.tokens import head_changes
from arctic_model.training.losses.cross_entropy import head_nll
from arctic_model.training.losses.preference import pair_log_probs, preferences
from arctic_model.training.optimization.settings import Dpo, Optimization

NO_CORPORA = torch.zeros(0, 1, dtype=torch.bool)
NO_REFERENCE = torch.zeros(0, 0, 2, dtype=torch.float64)


class Batch(NamedTuple):
    """One forward pass of one worker, all [B, T], or its part of the tokens if workers share sequences: int64 ids and
    positions, int32 segments, int64 targets (-1: none).

    `corpora` [C, B] is True for the corpus of each sequence; without rows there are no losses by corpus. `reference`
    [B, P, 2]: log-probabilities of pairs of answers under the weights that a fine-tune starts from, as
    `arctic_model.training.losses.preference.pair_log_probs` returns them; without rows, tokens are predicted.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    targets: Tensor
    corpora: Tensor = NO_CORPORA
    reference: Tensor = NO_REFERENCE

    @property
    def num_predicted(self) -> int:
        """Number of losses: of pairs, or of tokens."""
        if len(self.reference):
            return int((~self.reference.isnan().any(dim=-1)).sum())
        return int((self.targets >= 0).sum())


class Scale(NamedTuple):
    """Divisors that turn sums into means: `predicted` tokens or pairs, and `tokens` (without padding), of the whole
    step, over all workers; and the `load` [L, E] to balance against, in assignments per token."""

    predicted: float
    tokens: float
    load: Tensor


class StepSums(NamedTuple):
    """The loss of tokens or pairs [], the router's sums, of pairs [3] both rewards and how often the chosen side's
    is higher, and by corpus [C] the loss and the number of tokens or pairs."""

    nll: Tensor
    router: RouterSums
    preference: Tensor
    corpus_nll: Tensor
    corpus_predicted: Tensor


class _Losses(NamedTuple):
    """`total` [] of a pass, by sequence [B] the losses and their number, and the sums of pairs [3]."""

    total: Tensor
    by_sequence: Tensor
    predicted: Tensor
    preference: Tensor


def training_loss(
    model: ArcticModel, batch: Batch, scale: Scale, settings: Optimization, context: ContextGroup = WHOLE_SEQUENCES
) -> tuple[Float[Tensor, ""], Float[Tensor, " S"]]:
    """This pass's part of the loss of the step, and its sums as one float64 vector (see `unpacked`). If a group shares
    sequences, its workers call in step.

    The balance loss takes f, the load of the experts, from the step before (zeros before the first step: no gradient),
    and P, which carries the gradient, from this pass. So f covers the whole batch of a step, the loss does not depend
    on the number of workers or passes, and no layer waits for a collective. Batch-wide f: Qiu et al. 2025 (arXiv
    2501.11873); from the step before: as Wang et al. 2024 (2408.15664) correct their bias.
    """
    policy = ForwardPolicy(settings.capacity_factor, settings.activation_checkpointing)
    dpo, head, changes = settings.tuning.dpo, model.lm_head.weight, head_changes(model)
    mask = None if context.size == 1 else shared_context(batch.segments, context, head.dtype, model.config.head_dim)
    hidden, routing = model.hidden_states(batch.ids, batch.positions, batch.segments, policy=policy, mask=mask)
    losses = _of_pairs(hidden, head, changes, batch, dpo) if dpo else _of_tokens(hidden, head, changes, batch)
    loss, router = losses.total / scale.predicted, no_routers(hidden.device)
    if routing is not None:
        router = router_sums(routing, (batch.segments >= 0).flatten())
        balance = balance_loss(scale.load, router.probabilities, scale.tokens)
        loss = loss + settings.balance_loss_coefficient * balance
        loss = loss + settings.z_loss_coefficient * z_loss(router.z, scale.tokens)
    by_corpus = (
        # `where` instead of a product: a loss that is not finite must not reach the sums of other corpora.
        torch.where(batch.corpora, by_sequence.double(), 0.0).sum(dim=1)
        for by_sequence in (losses.by_sequence, losses.predicted)
    )
    return loss, _packed(StepSums(losses.total, router, losses.preference, *by_corpus))


def _of_tokens(hidden: Tensor, head: Tensor, changes: RowChanges | None, batch: Batch) -> _Losses:
    nll, token_nll = head_nll(hidden.flatten(0, 1), head, batch.targets.flatten(), changes)
    by_sequence, predicted = token_nll.view_as(batch.targets).sum(dim=1), (batch.targets >= 0).sum(dim=1)
    return _Losses(nll, by_sequence, predicted, torch.zeros(3, device=hidden.device))


def _of_pairs(hidden: Tensor, head: Tensor, changes: RowChanges | None, batch: Batch, dpo: Dpo) -> _Losses:
    log_probs = pair_log_probs(hidden, head, batch.targets, batch.segments, batch.reference.shape[1], changes)
    pairs = preferences(log_probs, batch.reference, dpo)
    higher = pairs.is_pair & (pairs.chosen_reward > pairs.rejected_reward)
    sums = [part.sum() for part in (pairs.chosen_reward, pairs.rejected_reward, higher)]
    total, by_sequence = pairs.loss.sum(), pairs.loss.detach().sum(dim=1)
    return _Losses(total.float(), by_sequence, pairs.is_pair.sum(dim=1), torch.stack(sums))


def num_sums(num_layers: int, num_experts: int, num_corpora: int) -> int:
    """Length of the vector that `training_loss` returns, for `num_layers` layers with experts."""
    return 1 + num_layers * (2 * num_experts + 3) + 2 * num_corpora + 3


def unpacked(vector: Float[Tensor, " S"], num_layers: int, num_experts: int, num_corpora: int) -> StepSums:
    """The sums in a vector of `training_loss`, or in a sum of such vectors."""
    table = num_layers * num_experts
    sizes = [1, table, table, *[num_layers] * 3, 3, num_corpora, num_corpora]
    nll, probabilities, assignments, *columns, preference, corpus_nll, corpus_predicted = vector.split(sizes)
    shape = (num_layers, num_experts)
    router = RouterSums(probabilities.view(shape), assignments.view(shape), *columns)
    return StepSums(nll[0], router, preference, corpus_nll, corpus_predicted)


def step_columns(sums: StepSums, scale: Scale, settings: Optimization, corpora: Sequence[str]) -> dict[str, Any]:
    """Losses of a step, in all and by corpus, of the corpora that it read, and the rewards of pairs."""
    columns = zip(corpora, sums.corpus_nll.tolist(), sums.corpus_predicted.tolist(), strict=True)
    losses = {
        "loss": float(sums.nll) / scale.predicted,
        "loss_by_corpus": {corpus: nll / predicted for corpus, nll, predicted in columns if predicted},
    }
    if not settings.tuning.dpo:
        return losses
    better, worse, accuracy = (sums.preference / scale.predicted).tolist()
    rewards = {"chosen_reward": better, "rejected_reward": worse, "margin": better - worse, "accuracy": accuracy}
    return losses | rewards


def router_columns(router: RouterSums, num_tokens: float, layers: Mapping[str, Tensor]) -> dict[str, float]:
    """Losses of all layers' routers together, and mean and maximum over `layers` of each of their figures [L]."""
    columns = {
        "balance_loss": float(balance_loss(router.assignments / num_tokens, router.probabilities, num_tokens)),
        "z_loss": float(z_loss(router.z, num_tokens)),
        "max_expert_load": max_expert_load(router.assignments),
    }
    table = torch.stack(list(layers.values()))
    for name, mean, most in zip(layers, table.mean(1).tolist(), table.amax(1).tolist(), strict=True):
        columns |= {f"{name}_mean": mean, f"{name}_max": most}
    return columns


def counts(batches: list[Batch]) -> Float[Tensor, "2"]:
    """Predicted tokens or pairs, and tokens without padding, of one worker's passes."""
    predicted = sum(batch.num_predicted for batch in batches)
    tokens = sum(int((batch.segments >= 0).sum()) for batch in batches)
    return torch.tensor([predicted, tokens], dtype=torch.float64)


def _packed(sums: StepSums) -> Tensor:
    return torch.cat([part.detach().flatten().double() for part in (sums.nll, *sums.router, *sums[2:])])
