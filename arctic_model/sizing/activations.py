"""Bytes that a pass stores for backward, layer by layer, by formula. No torch here.

docs/explanation/sizing.md derives every formula; the tests compare them with the tensors that autograd really stores.
"""

from arctic_model.config import LONGEST_BIAS, ArcticConfig
from arctic_model.sizing.parallel import ParallelConfig


def activation_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Bytes stored for backward at the end of forward, at an even load of the experts.

    With checkpointed layers: the inputs of all layers, and everything of the largest layer, which is recomputed.
    """
    layers = [layer_activation_bytes(config, parallel, number) for number in range(config.num_layers)]
    if parallel.activation_checkpointing != "layer":
        return sum(layers) + shared_activation_bytes(config, parallel)
    return checkpointed_bytes(config, parallel) + max(layers) - hidden_bytes(config, parallel)


def checkpointed_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Bytes stored between forward and backward if each layer stores its input only."""
    return config.num_layers * hidden_bytes(config, parallel) + shared_activation_bytes(config, parallel)


def layer_activation_bytes(config: ArcticConfig, parallel: ParallelConfig, number: int) -> int:
    """Bytes that the layer of this number stores for backward."""
    stored = _attention_bytes(config, parallel) + _norm_scales(parallel)
    if config.has_mlp(number):
        stored += _mlp_bytes(config, parallel)
    if number in config.moe_layers:
        stored += _expert_bytes(config, parallel)
    return stored


def shared_activation_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Bytes stored once: the token ids, the rotation, the document mask [B, 1, T, T] of short sequences, the last
    norm, the two gradients that the fused loss has already made, and the router's logits and probabilities of all
    layers."""
    tokens, size = parallel.tokens, parallel.element_bytes
    rotation = 4 * tokens * config.head_dim
    final_norm = hidden_bytes(config, parallel) + 4 * tokens
    head = hidden_bytes(config, parallel) + size * config.vocab_size * config.hidden_size
    mask = size * tokens * parallel.sequence_length if parallel.sequence_length <= LONGEST_BIAS else 0
    return 8 * tokens + rotation + mask + final_norm + head + _router_loss_bytes(config, parallel)


def hidden_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """One tensor [N, D] in the dtype of the activations."""
    return parallel.element_bytes * parallel.tokens * config.hidden_size


def keys_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Keys and values of this worker's tokens in one layer."""
    return 2 * parallel.element_bytes * parallel.tokens * config.key_size


def recomputed_rows(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """The rows of the experts that selective checkpointing gathers again, unless an exchange brought them."""
    if parallel.activation_checkpointing != "selective" or parallel.expert_parallel_size > 1:
        return 0
    return config.top_k * hidden_bytes(config, parallel)


def _attention_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Input, normed input (unless it is recomputed) and sum after attention [N, D]; queries, keys, values and output of
    the heads, with context parallelism the keys and values of all workers; the scores' log-sums in float32; with norms
    of the heads their inputs and scales."""
    tokens, heads = parallel.tokens, config.num_heads + config.num_kv_heads
    hidden = 2 if parallel.activation_checkpointing == "selective" else 3
    projected = 2 * (config.query_size + config.key_size * parallel.context_parallel_size)
    normed = config.query_size + config.key_size if config.qk_norm else 0
    scales = config.num_heads + (heads if config.qk_norm else 0)
    projections = parallel.element_bytes * tokens * (projected + normed)
    return hidden * hidden_bytes(config, parallel) + projections + 4 * tokens * scales


def _mlp_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """Normed sum, unless it is recomputed, and gate and up."""
    normed = 0 if parallel.activation_checkpointing == "selective" else hidden_bytes(config, parallel)
    return normed + parallel.element_bytes * parallel.tokens * 2 * config.mlp_size


def _norm_scales(parallel: ParallelConfig) -> int:
    """In float32: of the layer's input, whose norms share one, and of the sum after attention."""
    return 2 * 4 * parallel.tokens


def _expert_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """An assignment stores the row it sends and the row it gets back (2 * D), and 2 * F inside its expert."""
    assignments = parallel.tokens * config.top_k
    rows = parallel.element_bytes * assignments * (2 * config.hidden_size + 2 * config.expert_size)
    return rows + _router_bytes(config, parallel) - recomputed_rows(config, parallel)


def _router_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """In addition to the gate's input: the token of each row and the row of each assignment, and with expert
    parallelism the two permutations of the arriving rows twice, are int64."""
    assignments = parallel.tokens * config.top_k
    permutations = 4 if parallel.expert_parallel_size > 1 else 2
    weights_and_choices = assignments * (4 + 8)
    return _router_inputs(config, parallel) + permutations * 8 * assignments + weights_and_choices


def _router_inputs(config: ArcticConfig, parallel: ParallelConfig) -> int:
    """The tokens that the gate reads. Selective checkpointing computes them again, and a shared expert reads the same
    ones."""
    if parallel.activation_checkpointing == "selective" or config.layer_shape == "shared":
        return 0
    return hidden_bytes(config, parallel)


def _router_loss_bytes(config: ArcticConfig, parallel: ParallelConfig) -> int:
    tokens, layers = parallel.tokens, len(config.moe_layers)
    return 4 * layers * (2 * tokens * config.num_experts + tokens + config.num_experts) + (4 * tokens if layers else 0)
