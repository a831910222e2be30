"""Share of an all-to-all that hides behind the dense path: one GPU sends its rows to itself through the host's memory.

Real bytes over real copy engines in parallel to the kernels, a proxy for a network. `forced` deals tokens out to
experts in turn, so that every exchange has the same size; `real` lets the router of random weights choose.
"""

from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import overlap
import torch
from setting import finish, options
from torch import Tensor

from arctic_model.moe import router
from arctic_model.moe.router import Routing


def dealt_out(logits: Tensor, top_k: int, bias: Tensor | None = None) -> Routing:
    """Token n goes to experts K * n to K * n + K - 1, modulo E."""
    num_tokens, num_experts = logits.shape
    experts = torch.arange(num_tokens * top_k, device=logits.device).view(num_tokens, top_k) % num_experts
    return Routing(logits, experts, logits.gather(1, experts).softmax(dim=-1))


def main() -> None:
    provided = options("routing")
    forced: Any = patch.object(router, "route", dealt_out) if provided.routing == "forced" else nullcontext()
    with forced:
        result = overlap.on_one_device(provided.device.type, repeats=2 if provided.dry else 8)
    medians = result.medians
    finish(hidden=result.hidden, equal_bits=result.equal, **medians)
    if not result.equal:
        raise SystemExit("the two orders differ")


if __name__ == "__main__":
    main()
