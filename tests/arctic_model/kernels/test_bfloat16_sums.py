"""No gradient in bfloat16 gets worse with the number of tokens that it is a sum over."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arctic_model.kernels.rows import summed_by
from arctic_model.layers.embedding import TokenEmbedding
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training.losses.cross_entropy import head_nll
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Optimization

ONE_ROUNDING = 2.5e-3
"""Relative, of a tensor: a number of bfloat16 is off by 2**-9 at most, and by about 1.6e-3 in the mean square."""
VOCABULARY, WIDTH = 512, 16


def zipf(num_tokens: int, vocabulary: int = VOCABULARY) -> Tensor:
    """Ids of which the k-th comes as often as 1 / k."""
    shares = 1.0 / torch.arange(1, vocabulary + 1, dtype=torch.float64)
    return torch.multinomial(shares, num_tokens, replacement=True, generator=torch.Generator().manual_seed(0))


def one_sided(num_tokens: int) -> Tensor:
    """Rows whose mean is not zero, as the gradients of a frequent token's."""
    return (torch.randn(num_tokens, WIDTH, generator=torch.Generator().manual_seed(1)) + 0.5).bfloat16()


def error(result: Tensor, expected: Tensor) -> float:
    return float((result.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("num_tokens", [1024, 16 * 1024, 64 * 1024])
def test_the_embeddings_gradient_is_that_of_float64(num_tokens: int) -> None:
    """As a whole, and of the most frequent id, whose sum torch's own backward in bfloat16 lets starve."""
    ids, rows = zipf(num_tokens), one_sided(num_tokens)
    embedding = TokenEmbedding(VOCABULARY, WIDTH).bfloat16()
    embedding(ids.view(-1, 64)).backward(rows.view(-1, 64, WIDTH))
    expected = torch.zeros(VOCABULARY, WIDTH, dtype=torch.float64).index_add_(0, ids, rows.double())
    assert embedding.weight.grad is not None
    assert error(embedding.weight.grad, expected) < ONE_ROUNDING
    assert error(embedding.weight.grad[0], expected[0]) < ONE_ROUNDING


def test_ids_without_a_token_and_no_tokens_at_all_have_no_gradient() -> None:
    sums = summed_by(one_sided(3), torch.tensor([4, 1, 4]), 6)
    assert sums.any(dim=1).tolist() == [False, True, False, False, True, False]
    assert not summed_by(one_sided(0), torch.zeros(0, dtype=torch.int64), 6).any()


@pytest.mark.parametrize("num_tokens", [1024, 16 * 1024, 64 * 1024])
def test_the_heads_gradient_is_that_of_float64(num_tokens: int) -> None:
    """Hidden states and weights stay in bfloat16; in addition to the sum each residual is rounded."""
    hidden = one_sided(num_tokens).requires_grad_()
    head = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(2)).bfloat16().requires_grad_()
    targets = zipf(num_tokens)
    targets[::7] = -1
    wide_hidden, wide_head = (each.detach().double().requires_grad_() for each in (hidden, head))
    head_nll(hidden, head, targets)[0].backward()
    F.cross_entropy(wide_hidden @ wide_head.T, targets, ignore_index=-1, reduction="sum").backward()
    assert error(head.grad, wide_head.grad) < 2 * ONE_ROUNDING  # type: ignore[arg-type]
    assert error(hidden.grad, wide_hidden.grad) < 3 * ONE_ROUNDING  # type: ignore[arg-type]


def test_no_parameters_gradient_gets_worse_with_the_tokens_of_a_pass() -> None:
    """Against float32, with the same weights and all experts chosen, so that no rounding flips a choice."""
    few, many = errors(4), errors(256)
    for name, each in many.items():
        assert each < 0.01, name
        assert each < 1.3 * few[name], name


def errors(num_sequences: int) -> dict[str, float]:
    narrow, wide = (gradients(dtype, num_sequences) for dtype in (torch.bfloat16, torch.float32))
    return {name: error(narrow[name], wide[name]) for name in narrow}


def gradients(dtype: torch.dtype, num_sequences: int, length: int = 64) -> dict[str, Tensor]:
    config = preset("tiny", {"hidden_size": 64, "vocab_size": 257, "top_k": 4})
    model = ArcticModel(config, seed=0)
    model = model.bfloat16().to(dtype)
    ids = zipf(num_sequences * (length + 1), config.vocab_size).view(num_sequences, length + 1)
    positions, segments = torch.arange(length).repeat(num_sequences, 1), torch.zeros(num_sequences, length)
    batch = Batch(ids[:, :-1].contiguous(), positions, segments.int(), ids[:, 1:].contiguous())
    scale = Scale(float(ids.numel()), float(ids.numel()), torch.ones(config.num_layers, config.num_experts))
    training_loss(model, batch, scale, Optimization(z_loss_coefficient=0.01))[0].backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
