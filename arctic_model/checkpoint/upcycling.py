"""Which models begin from which weights: of the same architecture, or of a dense model made into experts. No torch.

A dense model becomes a mixture that computes the same (Komatsuzaki et al. 2022, sparse upcycling, arXiv 2212.05055).
With `layer_shape = "moe"` every expert is a copy of the dense MLP. In the other shapes the dense MLP stays, and the
experts in parallel to it are copies whose last matrix is zero.
"""

from collections.abc import Mapping
from typing import Any

from arctic_model import config_json
from arctic_model.config import ArcticConfig

SHARED = (
    *("vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim", "rope_theta"),
    *("rms_norm_eps", "qk_norm", "qkv_bias", "learned_sinks", "tied_head", *config_json.YARN),
)
"""Fields that the weights of attention, embeddings and norms fix."""
OF_EXPERTS = ("num_experts", "expert_size", "top_k", "layer_shape", "moe_layer_frequency")


def is_upcycled(source: ArcticConfig, target: ArcticConfig) -> bool:
    """Whether `target` has experts that weights of `source` do not have."""
    return bool(target.num_experts) and not source.num_experts


def mismatches(source: ArcticConfig, target: ArcticConfig) -> Mapping[str, tuple[Any, Any]]:
    """The fields that keep a model `target` from beginning with weights of `source`: the value of each, and the one
    that it must have. Empty if it can begin."""
    required = {name: getattr(source, name) for name in SHARED}
    if any(target.has_mlp(number) for number in range(target.num_layers)):
        required["mlp_size"] = source.mlp_size
    if is_upcycled(source, target):
        required["expert_size"] = source.mlp_size
    elif source.num_experts:
        required |= {name: getattr(source, name) for name in OF_EXPERTS}
        # A model without biases may get them: they begin at zero.
        required |= {"router_bias": True} if source.router_bias else {}
    else:
        required["num_experts"] = 0
    values = {name: getattr(target, name) for name in required}
    return {name: (values[name], value) for name, value in required.items() if values[name] != value}
