"""Parameters and arithmetic work of a model, by formula. No torch here."""

from collections.abc import Collection
from dataclasses import astuple, dataclass

from arctic_model.config import ArcticConfig


@dataclass(frozen=True)
class ParameterCount:
    """Total parameters, those that one token passes through (top-k experts of E), and those of all experts."""

    total: int
    active: int
    experts: int

    @property
    def dense(self) -> int:
        """Everything that every token passes through."""
        return self.total - self.experts


@dataclass(frozen=True)
class ForwardFlops:
    """Floating-point operations of one token's forward pass, all layers together."""

    attention: int
    dense_mlp: int
    router: int
    experts: int
    head: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(astuple(self))


def count_parameters(config: ArcticConfig) -> ParameterCount:
    """Parameters by formula; the preset arctic-480b has 478,584,608,768 and 17,318,647,808 active."""
    vocabularies = 1 if config.tied_head else 2
    ends = vocabularies * config.vocab_size * config.hidden_size + config.hidden_size
    dense = ends + sum(_dense_parameters(config, number) for number in range(config.num_layers))
    expert = len(config.moe_layers) * 3 * config.hidden_size * config.expert_size
    experts = expert * config.num_experts
    return ParameterCount(dense + experts, dense + expert * config.top_k, experts)


def forward_flops_per_token(config: ArcticConfig, sequence_length: int) -> ForwardFlops:
    """Products of matrices in the forward pass of one token in a full sequence of `sequence_length` T.

    2 per matrix parameter that the token meets (Kaplan et al. 2020, arXiv 2001.08361, 2.1); the embedding is a look-up
    and the norms are not products: both count for nothing. Scores and their use are 2 * T * H * C per layer: half of
    the full square, since a token sees on average half of its sequence.
    """
    layers, width, moe_layers = config.num_layers, config.hidden_size, len(config.moe_layers)
    return ForwardFlops(
        attention=layers * 2 * (_attention(config) + sequence_length * config.query_size),
        dense_mlp=num_mlps(config) * 2 * 3 * width * config.mlp_size,
        router=moe_layers * 2 * config.num_experts * width,
        experts=moe_layers * 2 * config.top_k * 3 * width * config.expert_size,
        head=2 * config.vocab_size * width,
    )


def num_mlps(config: ArcticConfig) -> int:
    """Layers with a dense MLP."""
    return sum(config.has_mlp(number) for number in range(config.num_layers))


def num_norms(config: ArcticConfig, number: int) -> int:
    """Norms of the hidden states in the layer of this number: one more than its parts, unless two share one."""
    return 3 if config.layer_shape == "hybrid" and number in config.moe_layers else 2


def training_flops_per_token(config: ArcticConfig, sequence_length: int, frozen: Collection[str] = ()) -> int:
    """Forward and backward of one token: backward is two products for each one of forward, but one for the matrices of
    `frozen` parts, whose gradient is not computed (names of `arctic_model.training.optimization.settings.ModelPart`).
    """
    forward = forward_flops_per_token(config, sequence_length)
    of_weights = {
        "attention": config.num_layers * 2 * _attention(config),
        "dense": forward.dense_mlp,
        "router": forward.router,
        "experts": forward.experts,
        "embeddings" if config.tied_head else "head": forward.head,
    }
    return 3 * forward.total - sum(of_weights.get(part, 0) for part in frozen)


def _attention(config: ArcticConfig) -> int:
    """The four projections of one layer."""
    return 2 * config.hidden_size * (config.query_size + config.key_size)


def layer_matrices(config: ArcticConfig, number: int) -> list[tuple[int, int]]:
    """Rows and columns of the dense matrices in the layer of this number, in the model's order: queries, keys, values,
    attention's output, and the dense MLP's three. The router's gate is none of them."""
    width, queries, keys, inner = config.hidden_size, config.query_size, config.key_size, config.mlp_size
    attention = [(queries, width), (keys, width), (keys, width), (width, queries)]
    return attention + ([(inner, width), (width, inner), (inner, width)] if config.has_mlp(number) else [])


def _dense_parameters(config: ArcticConfig, number: int) -> int:
    """Everything of the layer of this number but its experts: matrices, router, norms, biases, sinks."""
    matrices = sum(rows * columns for rows, columns in layer_matrices(config, number))
    router = config.num_experts * config.hidden_size if number in config.moe_layers else 0
    norms = num_norms(config, number) * config.hidden_size + (2 * config.head_dim if config.qk_norm else 0)
    biases = config.query_size + 2 * config.key_size if config.qkv_bias else 0
    sinks = config.num_heads if config.learned_sinks else 0
    return matrices + router + norms + biases + sinks
