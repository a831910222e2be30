"""Cross-entropy: plain for evaluation, and fused with the head for training."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arctic_model.kernels import operators
from arctic_model.layers.embedding import RowChanges

LOGITS_PER_CHUNK = {"cpu": 2**18, "cuda": 2**26}
"""Logits in memory at once in the fused loss: the cache of a core on a CPU (1 MiB), a small part of memory on a GPU."""
NO_CHANGES = (None, None)
LOGITS_PER_PRODUCT = {"cpu": 2**24, "cuda": 2**26}
"""Below float32, logits behind one addition to the gradient of the head. Every addition rounds, and reads and writes
the whole gradient."""


def token_nll(logits: Float[Tensor, "*batch V"], targets: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Negative log-likelihood of each target in nats, float32; 0 for a target of -1."""
    wide = logits.float()
    target_logits = wide.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(targets >= 0, wide.logsumexp(dim=-1) - target_logits, 0.0)


def head_nll(
    hidden: Float[Tensor, "N D"],
    head: Float[Tensor, "V D"],
    targets: Int[Tensor, " N"],
    changes: RowChanges | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " N"]]:
    """Sum of `token_nll(hidden @ head.T, targets)`, and its terms without gradient. All logits never exist at once.

    Forward computes the gradients as well, chunk by chunk while the logits are in cache, so that each matrix
    product runs once and the softmax touches fast memory only. With `changes` to a frozen head, their rows alone get a
    gradient.
    """
    losses: tuple[Tensor, Tensor] = _HeadNll.apply(hidden, head, targets, *(changes or NO_CHANGES))
    return losses


def row_nll(
    hidden: Float[Tensor, "N D"],
    head: Float[Tensor, "V D"],
    targets: Int[Tensor, " N"],
    changes: RowChanges | None = None,
) -> Float[Tensor, " N"]:
    """`token_nll(hidden @ head.T, targets)` with a gradient of each term. All logits never exist at once, since
    backward computes them again: how a term counts may depend on the others. `changes`: as for `head_nll`."""
    nll: Tensor = _RowNll.apply(hidden, head, targets, *(changes or NO_CHANGES))
    return nll


class _HeadNll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, tokens: Tensor | None, changes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        valid = (targets >= 0).unsqueeze(-1)
        # A row of zeros adds nothing to the gradient of the head, so rows without a target need no special case.
        rows = hidden * valid
        columns = targets.clamp(min=0).unsqueeze(-1)
        hidden_gradient = torch.empty_like(hidden)
        # In float32 for any dtype of the head: in bfloat16 a sum of many terms stops growing.
        head_gradient = torch.zeros_like(head, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        changes_gradient = None if changes is None else torch.zeros_like(changes, dtype=torch.float32)
        nll = torch.empty(len(rows), 1, device=rows.device)
        chunk_rows, product_rows = _rows_at_once(head)
        for begin in range(0, len(rows), product_rows):
            part = rows[begin : begin + product_rows]
            residual = rows.new_empty(len(part), len(head))
            for start in range(0, len(part), chunk_rows):
                inside = slice(start, start + chunk_rows)
                chunk = slice(begin + start, begin + start + len(part[inside]))
                # A CPU's chunk of logits stays in its cache; a GPU turns them into residuals in place.
                logits = rows.new_empty(len(rows[chunk]), len(head)) if rows.is_cpu else residual[inside]
                torch.mm(rows[chunk], head.T, out=logits)
                if tokens is not None and changes is not None:
                    logits.index_add_(1, tokens, rows[chunk] @ changes.T)
                nll[chunk] = operators.softmax_residual(logits, columns[chunk], residual[inside])
                torch.mm(residual[inside], head, out=hidden_gradient[chunk])
            if head_gradient is not None:
                _add_product(head_gradient, residual.T, part)
            if tokens is not None and changes is not None and changes_gradient is not None:
                of_tokens = residual.index_select(1, tokens)
                hidden_gradient[begin : begin + len(part)].addmm_(of_tokens, changes)
                _add_product(changes_gradient, of_tokens.T, part)
        ctx.save_for_backward(
            hidden_gradient.mul_(valid),
            None if head_gradient is None else head_gradient.to(head.dtype),
            None if changes_gradient is None else changes_gradient.to(head.dtype),
        )
        terms = nll.mul_(valid).squeeze(-1)
        ctx.mark_non_differentiable(terms)
        return terms.sum(), terms

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        of_hidden, of_head, of_changes = (None if each is None else each * gradient for each in ctx.saved_tensors)
        return of_hidden, of_head, None, None, of_changes


class _RowNll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, tokens: Tensor | None, changes: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(hidden, head, targets, tokens, changes)
        chunk, _ = _rows_at_once(head)
        parts = zip(hidden.split(chunk), targets.split(chunk), strict=True)
        return torch.cat([token_nll(_logits(rows, head, tokens, changes), some) for rows, some in parts])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head, targets, tokens, changes = ctx.saved_tensors
        weights = torch.where(targets >= 0, gradient, 0.0).unsqueeze(-1)
        columns = targets.clamp(min=0).unsqueeze(-1)
        hidden_gradient = torch.empty_like(hidden)
        head_gradient = torch.zeros_like(head, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        changes_gradient = None if changes is None else torch.zeros_like(changes, dtype=torch.float32)
        chunk, _ = _rows_at_once(head)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            residual = hidden.new_empty(len(hidden[part]), len(head))
            operators.softmax_residual(_logits(hidden[part], head, tokens, changes), columns[part], residual)
            residual.mul_(weights[part])
            torch.mm(residual, head, out=hidden_gradient[part])
            if head_gradient is not None:
                _add_product(head_gradient, residual.T, hidden[part])
            if changes_gradient is not None:
                of_tokens = residual.index_select(1, tokens)
                hidden_gradient[part].addmm_(of_tokens, changes)
                _add_product(changes_gradient, of_tokens.T, hidden[part])
        of_head, of_changes = (
            None if each is None else each.to(head.dtype) for each in (head_gradient, changes_gradient)
        )
        return hidden_gradient, of_head, None, None, of_changes


def _logits(rows: Tensor, head: Tensor, tokens: Tensor | None, changes: Tensor | None) -> Tensor:
    logits = rows @ head.T
    return logits if tokens is None or changes is None else logits.index_add_(1, tokens, rows @ changes.T)


def _rows_at_once(head: Tensor) -> tuple[int, int]:
    """Rows of a chunk of logits, and of a product for the gradient of the head, a multiple of the chunk."""
    device = "cpu" if head.is_cpu else "cuda"
    chunk = max(16, LOGITS_PER_CHUNK[device] // len(head))
    if head.dtype == torch.float32:
        return chunk, chunk
    return chunk, chunk * max(1, LOGITS_PER_PRODUCT[device] // (chunk * len(head)))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add `left @ right` in place to a total in float32."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif left.is_cpu:
        total.add_(left @ right)
    else:
        # A GPU adds inside the product, in float32.
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
