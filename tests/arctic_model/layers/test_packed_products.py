"""The products that a GPU makes as one are those that a CPU makes one by one, with their gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

from arctic_model.layers.feed_forward import swiglu_mlp
from arctic_model.layers.packed_products import packed_swiglu_mlp, rotated_projections
from arctic_model.layers.rotary import Rotation, rotate

BATCH, LENGTH, WIDTH, HEADS, GROUPS, HEAD_DIM = 2, 5, 12, 3, 1, 4


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def with_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    outputs = function(*inputs)
    torch.manual_seed(1)
    return [outputs, *torch.autograd.grad(outputs, inputs, torch.randn_like(outputs))]


def test_projections() -> None:
    torch.manual_seed(0)
    angles = torch.rand(BATCH, LENGTH, 1, HEAD_DIM // 2, dtype=torch.float64)
    turned = Rotation(angles.cos(), angles.sin())

    def one_by_one(x: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        heads = [(x @ weight.T).unflatten(-1, (-1, HEAD_DIM)) for weight in (queries, keys, values)]
        return torch.cat([rotate(heads[0], turned), rotate(heads[1], turned), heads[2]], dim=2)

    def as_one(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.cat(rotated_projections(x, *turned, *weights), dim=2)

    inputs = (drawn(BATCH, LENGTH, WIDTH), *(drawn(heads * HEAD_DIM, WIDTH) for heads in (HEADS, GROUPS, GROUPS)))
    for result, expected in zip(with_gradients(as_one, *inputs), with_gradients(one_by_one, *inputs), strict=True):
        torch.testing.assert_close(result, expected)


def test_swiglu() -> None:
    torch.manual_seed(0)
    inputs = (drawn(7, WIDTH), drawn(9, WIDTH), drawn(WIDTH, 9), drawn(9, WIDTH))
    pairs = zip(with_gradients(packed_swiglu_mlp, *inputs), with_gradients(swiglu_mlp, *inputs), strict=True)
    for result, expected in pairs:
        torch.testing.assert_close(result, expected)


def test_frozen_weights_have_no_gradient() -> None:
    rows, *weights = (drawn(7, WIDTH), drawn(9, WIDTH), drawn(WIDTH, 9), drawn(9, WIDTH))
    for weight in weights:
        weight.requires_grad_(False)
    packed_swiglu_mlp(rows, *weights).sum().backward()
    assert rows.grad is not None and all(weight.grad is None for weight in weights)
