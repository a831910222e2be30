"""The kernels of one layer and of everything around the layers, at any size, as a GPU would run them."""

from typing import NamedTuple

import torch
from torch import Tensor

from arctic_model.config import ArcticConfig
from arctic_model.layer import new_layer
from arctic_model.layers.attention.document_mask import Documents
from arctic_model.layers.embedding import TokenEmbedding
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.rotary import rotation
from arctic_model.moe.balance import balance_loss, router_sums
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.moe.router import Routing
from arctic_model.roofline.tracing import Kernel, KernelTrace
from arctic_model.training.losses.cross_entropy import head_nll

META = torch.device("meta")


class Passes(NamedTuple):
    """The kernels of a forward and of its backward pass."""

    forward: list[Kernel]
    backward: list[Kernel]

    @property
    def all(self) -> list[Kernel]:
        """Forward, then backward."""
        return self.forward + self.backward


def trace_layer(config: ArcticConfig, number: int, num_sequences: int, dtype: torch.dtype) -> Passes:
    """The layer of this number on `num_sequences` full sequences, with all experts on one GPU and every sequence a
    document. No weight has a gradient yet, as in the first micro-batch of a step."""
    shape = (num_sequences, config.max_positions)
    with META:
        layer = new_layer(config, number, ExpertGroup()).to(dtype)
        x = torch.empty(*shape, config.hidden_size, dtype=dtype, requires_grad=True)
        angles = rotation(torch.empty(shape, dtype=torch.int64), config.rope)
        documents = Documents(torch.empty(num_sequences + 1, dtype=torch.int32), config.max_positions)
    forward = KernelTrace()
    with forward:
        hidden, routing = layer(x, angles, documents)
    outputs = [hidden] if routing is None else [hidden, routing.logits]
    return Passes(forward.kernels, _backward(outputs))


def trace_ends(config: ArcticConfig, num_sequences: int, dtype: torch.dtype) -> Passes:
    """Embedding, rotary angles, final norm, the loss of the head, and the losses of all routers."""
    shape = (num_sequences, config.max_positions)
    num_tokens, num_layers = num_sequences * config.max_positions, len(config.moe_layers)
    with META:
        ids = torch.empty(shape, dtype=torch.int64)
        embedding = TokenEmbedding(config.vocab_size, config.hidden_size).to(dtype)
        norm = RMSNorm(config.hidden_size, config.rms_norm_eps).to(dtype)
        head = torch.empty(config.vocab_size, config.hidden_size, dtype=dtype, requires_grad=True)
        logits = torch.empty(num_layers, num_tokens, config.num_experts, requires_grad=True)
        experts = torch.empty(num_layers, num_tokens, config.top_k, dtype=torch.int64)
        weights = torch.empty(num_layers, num_tokens, config.top_k)
        load = torch.empty(num_layers, config.num_experts)
        valid = torch.empty(num_tokens, dtype=torch.bool)
    forward = KernelTrace()
    with forward:
        rotation(ids, config.rope)
        hidden = norm(embedding(ids))
        nll, _ = head_nll(hidden.flatten(0, 1), head, ids.flatten())
        outputs = [nll]
        if num_layers:
            sums = router_sums(Routing(logits, experts, weights), valid)
            outputs.append(balance_loss(load, sums.probabilities, float(num_tokens)))
    return Passes(forward.kernels, _backward(outputs))


def _backward(outputs: list[Tensor]) -> list[Kernel]:
    gradients = [torch.empty_like(output) for output in outputs]
    backward = KernelTrace()
    with backward:
        torch.autograd.backward(outputs, gradients)
    return backward.kernels
