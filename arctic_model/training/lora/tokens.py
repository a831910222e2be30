"""Trained tokens: rows of the embedding and of the head that learn beside adapters, while all other rows are frozen.

A base has never read the marks of a chat template, so their rows are as they were drawn. PEFT has the same under
`trainable_token_indices`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from arctic_model.layers.embedding import RowChanges, TiedHead, TokenEmbedding
from arctic_model.model import ArcticModel

TRAINED_TOKENS = "trained_tokens"
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"
"""Modules with a row for each token."""


class TrainedTokens(nn.Module):
    """The trained rows `weight` [n, D] of `tokens`, which replace those of a frozen matrix."""

    def __init__(self, tokens: Sequence[int], matrix: Tensor) -> None:
        super().__init__()
        self.tokens = tuple(tokens)
        rows = matrix.new_empty(len(self.tokens), matrix.shape[1])
        self.weight = nn.Parameter(rows if matrix.is_meta else matrix.detach()[list(self.tokens)].clone())

    def changes(self, matrix: Float[Tensor, "V D"]) -> RowChanges:
        """What must be added to the rows of the frozen `matrix`."""
        tokens = torch.tensor(self.tokens, device=matrix.device)
        return RowChanges(tokens, self.weight - matrix.index_select(0, tokens))


class TunedEmbedding(nn.Module):
    """A frozen embedding with trained rows."""

    def __init__(self, embedding: TokenEmbedding, tokens: Sequence[int]) -> None:
        super().__init__()
        self.weight = embedding.weight
        self.trained_tokens = TrainedTokens(tokens, embedding.weight)

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch D"]:
        """The row of each id."""
        tokens, change = self.trained_tokens.changes(self.weight)
        is_token = (ids.unsqueeze(-1) == tokens).to(change.dtype)
        return F.embedding(ids, self.weight) + is_token @ change


class TunedHead(nn.Module):
    """A frozen head with trained rows, which give other logits to their tokens."""

    def __init__(self, head: nn.Linear, tokens: Sequence[int]) -> None:
        super().__init__()
        self.weight = head.weight
        self.trained_tokens = TrainedTokens(tokens, head.weight)

    def forward(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Logits."""
        return _logits(hidden, self.weight, self.trained_tokens)


class TunedTiedHead(TiedHead):
    """A head with the rows of an embedding, the trained ones among them."""

    def __init__(self, embedding: TunedEmbedding) -> None:
        super().__init__(embedding)
        self._tuned = (embedding,)

    def forward(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Logits."""
        return _logits(hidden, self.weight, self._tuned[0].trained_tokens)


def train_tokens(model: ArcticModel, tokens: Sequence[int]) -> None:
    """Give `model` trained rows of `tokens` in place. They begin as the frozen ones; on the meta device they need
    `first_rows` once they have memory."""
    embedding, head = model.model.embed_tokens, model.lm_head
    assert isinstance(embedding, TokenEmbedding)
    tuned = TunedEmbedding(embedding, tokens)
    model.model.add_module("embed_tokens", tuned)
    model.add_module(HEAD, TunedHead(head, tokens) if isinstance(head, nn.Linear) else TunedTiedHead(tuned))


def head_changes(model: ArcticModel) -> RowChanges | None:
    """The changes of the head's rows, None if it has no trained ones."""
    owner = model.lm_head if isinstance(model.lm_head, TunedHead) else model.model.embed_tokens
    return owner.trained_tokens.changes(owner.weight) if isinstance(owner, TunedHead | TunedEmbedding) else None


def rows_of(matrix: str) -> str:
    """Name of the trained rows of a `matrix`.

    >>> rows_of("lm_head.weight")
    'lm_head.trained_tokens.weight'
    """
    module, _, parameter = matrix.rpartition(".")
    return f"{module}.{TRAINED_TOKENS}.{parameter}"


def matrix_of(name: str) -> str:
    """The frozen matrix of the trained rows `name`, "" if the parameter is of another kind.

    >>> matrix_of("lm_head.trained_tokens.weight"), matrix_of("lm_head.weight")
    ('lm_head.weight', '')
    """
    module, found, rest = name.partition(f".{TRAINED_TOKENS}.")
    return f"{module}.{rest}" if found else ""


def _logits(hidden: Tensor, matrix: Tensor, trained: TrainedTokens) -> Tensor:
    tokens, change = trained.changes(matrix)
    return F.linear(hidden, matrix).index_add(-1, tokens, F.linear(hidden, change))
