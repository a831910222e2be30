"""Parameters and arithmetic work of a model, by formula. No torch here."""

from dataclasses import astuple, dataclass

from arctic_model.config import ArcticConfig


@dataclass(frozen=True)
class ParameterCount:
    """Parameters in all, those that one token passes through (top-k experts of E), and those of all experts."""

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
    embeddings = 2 * config.vocab_size * config.hidden_size + config.hidden_size
    dense = embeddings + config.num_layers * _dense_layer(config)
    expert = config.num_layers * 3 * config.hidden_size * config.expert_size
    experts = expert * config.num_experts
    return ParameterCount(dense + experts, dense + expert * config.top_k, experts)


def forward_flops_per_token(config: ArcticConfig, sequence_length: int) -> ForwardFlops:
    """Products of matrices in the forward pass of one token in a full sequence of `sequence_length` T.

    2 per matrix parameter that the token meets (Kaplan et al. 2020, arXiv 2001.08361, 2.1); the embedding is a look-up
    and the norms are not products: both count for nothing. Scores and their use are 2 * T * D per layer: half of the
    full square, since a token sees on average half of its sequence.
    """
    layers, width = config.num_layers, config.hidden_size
    return ForwardFlops(
        attention=layers * 2 * (_attention(config) + sequence_length * width),
        dense_mlp=layers * 2 * 3 * width * width,
        router=layers * 2 * config.num_experts * width,
        experts=layers * 2 * config.top_k * 3 * width * config.expert_size,
        head=2 * config.vocab_size * width,
    )


def training_flops_per_token(config: ArcticConfig, sequence_length: int) -> int:
    """Forward and backward of one token: backward is two products for each one of forward."""
    return 3 * forward_flops_per_token(config, sequence_length).total


def _attention(config: ArcticConfig) -> int:
    """The four projections of one layer."""
    width = config.hidden_size
    return 2 * width * width + 2 * width * config.num_kv_heads * config.head_dim


def layer_matrices(config: ArcticConfig) -> list[tuple[int, int]]:
    """Rows and columns of a layer's dense matrices, in the model's order: queries, keys, values, attention's output,
    and the dense MLP's three. The router's gate is none of them."""
    width, keys = config.hidden_size, config.num_kv_heads * config.head_dim
    return [(width, width), (keys, width), (keys, width), (width, width), *[(width, width)] * 3]


def _dense_layer(config: ArcticConfig) -> int:
    """Everything of one layer but its experts: attention, dense MLP, router, three norms."""
    width = config.hidden_size
    return _attention(config) + 3 * width * width + config.num_experts * width + 3 * width
