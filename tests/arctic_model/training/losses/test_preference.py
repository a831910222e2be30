"""The loss of pairs against the formulas of the paper, term by term; the fused log-probabilities against plain ones."""

import math

import pytest
import torch
import torch.nn.functional as F

from arctic_model.training.losses.cross_entropy import LOGITS_PER_CHUNK, row_nll
from arctic_model.training.losses.preference import pair_log_probs, preferences
from arctic_model.training.optimization.settings import Dpo

NAN = math.nan


@pytest.mark.parametrize("head_is_frozen", [False, True])
def test_terms_and_gradients_are_those_of_cross_entropy(head_is_frozen: bool) -> None:
    vocabulary = 5000
    rows = 3 * LOGITS_PER_CHUNK["cpu"] // vocabulary + 5
    generator = torch.Generator().manual_seed(0)
    hidden, weights = (torch.randn(rows, size, generator=generator) for size in (8, 1))
    head = torch.randn(vocabulary, 8, generator=generator)
    targets = torch.randint(-1, vocabulary, (rows,), generator=generator)
    results = []
    for terms in (row_nll, plain_nll):
        h, w = hidden.clone().requires_grad_(True), head.clone().requires_grad_(not head_is_frozen)
        nll = terms(h, w, targets)
        # How much a term counts depends on the others.
        (nll * weights.squeeze(-1)).sum().square().backward()
        results.append((nll.detach(), h.grad, w.grad))

    for ours, expected in zip(*results, strict=True):
        assert (ours is None) == (expected is None)
        if ours is not None:
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-3)


def plain_nll(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(hidden @ head.T, targets, ignore_index=-1, reduction="none")


def test_each_side_of_each_pair_is_summed_over_its_own_targets() -> None:
    head = torch.eye(4)
    hidden = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    segments = torch.tensor([[0, 0, 1, 1, 2, 3], [0, 0, 0, 1, 1, -1]], dtype=torch.int32)
    targets = torch.tensor([[1, 2, -1, 3, 0, 1], [-1, 1, 2, -1, -1, -1]])

    result = pair_log_probs(hidden, head, targets, segments, 2)

    logs = hidden.log_softmax(-1)
    row, other = logs[0], logs[1]
    expected = torch.tensor(
        [[[row[0, 1] + row[1, 2], row[3, 3]], [row[4, 0], row[5, 1]]], [[other[1, 1] + other[2, 2], NAN], [NAN, NAN]]]
    )
    torch.testing.assert_close(result, expected.double(), equal_nan=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_the_paper_and_absent_pairs_count_for_nothing(smoothing: float) -> None:
    moved = torch.tensor([[[-1.0, -4.0], [-2.0, -1.0]], [[-3.0, -2.0], [NAN, NAN]]], requires_grad=True)
    reference = torch.tensor([[[-2.0, -3.0], [-2.0, -1.5]], [[-3.0, NAN], [NAN, NAN]]])

    pairs = preferences(moved, reference, Dpo(beta=0.5, label_smoothing=smoothing))
    pairs.loss.sum().backward()

    def expected(margin: float) -> float:
        right = 1 / (1 + math.exp(-margin))
        return -(1 - smoothing) * math.log(right) - smoothing * math.log(1 - right)

    assert pairs.is_pair.tolist() == [[True, True], [False, False]]
    assert pairs.loss[0].tolist() == pytest.approx([expected(0.5 * 2.0), expected(0.5 * -0.5)])
    assert pairs.loss[1].tolist() == [0.0, 0.0]
    assert pairs.chosen_reward[0].tolist() == pytest.approx([0.5, 0.0])
    assert pairs.rejected_reward[0].tolist() == pytest.approx([-0.5, 0.25])
    assert moved.grad is not None and moved.grad.isfinite().all()
    assert moved.grad[1].abs().sum() == 0
