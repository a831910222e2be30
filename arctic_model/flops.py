"""Parameters and arithmetic work of a model, by formula."""

from dataclasses import dataclass

from arctic_model.config import ArcticConfig


@dataclass(frozen=True)
class ParameterCount:
    """Parameters in all, and those that one token passes through (top-k experts of E)."""

    total: int
    active: int


def count_parameters(config: ArcticConfig) -> ParameterCount:
    """Parameters by formula; the preset arctic-480b has 478,584,608,768 and 17,318,647,808 active."""
    embeddings = 2 * config.vocab_size * config.hidden_size + config.hidden_size
    dense = embeddings + config.num_layers * _dense_layer(config)
    experts = config.num_layers * 3 * config.hidden_size * config.expert_size
    return ParameterCount(dense + experts * config.num_experts, dense + experts * config.top_k)


def training_flops_per_token(config: ArcticConfig, sequence_length: int) -> int:
    """Floating-point operations of forward and backward for one token in a full sequence of `sequence_length`.

    6 for each active matrix parameter (2 forward, 4 backward; Kaplan et al. 2020, arXiv 2001.08361, 2.1); the
    embedding is a look-up and the norms' gains are few: they count for nothing. Attention scores and their use add
    6 * T * D per layer: half of the full square, since a token sees on average half of the sequence.
    """
    gains = (3 * config.num_layers + 1) * config.hidden_size
    matrices = count_parameters(config).active - config.vocab_size * config.hidden_size - gains
    attention = config.num_layers * 6 * sequence_length * config.hidden_size
    return 6 * matrices + attention


def _dense_layer(config: ArcticConfig) -> int:
    """Everything of one layer but its experts: attention, dense MLP, router, three norms."""
    width = config.hidden_size
    key_value = config.num_kv_heads * config.head_dim
    attention = 2 * width * width + 2 * width * key_value
    return attention + 3 * width * width + config.num_experts * width + 3 * width
