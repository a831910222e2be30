"""The token embedding, with a backward that accumulates in float32, and the head that is tied to it."""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from arctic_model.kernels.rows import summed_by


class RowChanges(NamedTuple):
    """What is added to the rows of `tokens` [n], distinct ones, of a frozen embedding or head: `rows` [n, D]."""

    tokens: Tensor
    rows: Tensor


class TokenEmbedding(nn.Embedding):
    """A row of `weight` [V, D] for each token. The gradient of a row sums over all its tokens, and a frequent token has
    many: the sum is in float32 for any dtype."""

    def reset_parameters(self) -> None:
        """Draw the weights. On the meta device, which has no values, torch would import its compiler for that."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch D"]:
        """The row of each id."""
        embedded: Tensor = _Embed.apply(ids, self.weight)
        return embedded


class TiedHead(nn.Module):
    """An output head with the weights of an embedding, which stay the embedding's parameter alone."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        # Inside a tuple it is no submodule, so names, casts and moves know the weights once.
        self._embedding = (embedding,)

    @property
    def weight(self) -> Float[Tensor, "V D"]:
        """The embedding's."""
        return cast(Tensor, self._embedding[0].weight)

    def forward(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Logits."""
        return F.linear(hidden, self.weight)


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.num_rows = len(weight)
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (ids,) = ctx.saved_tensors
        return None, summed_by(gradient.flatten(0, -2), ids.flatten(), ctx.num_rows)
