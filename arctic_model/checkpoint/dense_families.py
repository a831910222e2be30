"""Dense models of other families, read as ours: Llama, Mistral, Qwen2 and Qwen3. No torch here.

Their layers are `arctic_model.layer.DenseLayer` under other names, so a model can begin from their weights.
"""

from collections.abc import Mapping
from typing import Any

from arctic_model import config_json
from arctic_model.config import ArcticConfig
from arctic_model.config_json import ConfigJsonError

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
}
"""By `model_type`, the properties of the family."""
NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "dense_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "rms_norm_eps": "rms_norm_eps",
    "init_std": "initializer_range",
}
"""Our names and theirs."""
REFUSED = ("attention_bias", "mlp_bias", "use_sliding_window", "quantization_config")
"""Features that our layer does not have. A `config.json` may name them without a value."""
RENAMED = {
    ".mlp.gate_proj.": ".residual_mlp.w1.",
    ".mlp.up_proj.": ".residual_mlp.w3.",
    ".mlp.down_proj.": ".residual_mlp.w2.",
    ".post_attention_layernorm.": ".residual_layernorm.",
}
"""Parts of tensor names, theirs and ours."""


def dense_config(content: Mapping[str, Any]) -> ArcticConfig:
    """The architecture of a `config.json` whose `model_type` is one of FAMILIES.

    Raises:
        ConfigJsonError: if a field is missing, or describes a feature that our layer does not have.
        ConfigError: if the numbers cannot make a model.
    """
    family = content["model_type"]
    for name in REFUSED + (("sliding_window",) if family == "mistral" else ()):
        if content.get(name):
            raise ConfigJsonError(f"{name} = {content[name]!r}: not supported. Choose a model without it.")
    if content.get("hidden_act") != "silu":
        raise ConfigJsonError(f"hidden_act = {content.get('hidden_act')!r}: must be 'silu'. Choose another model.")
    values: dict[str, Any] = {field: content.get(name) for field, name in NAMES.items()}
    values |= config_json.rope_fields(content)
    missing = [NAMES.get(field, field) for field, value in values.items() if value is None]
    if missing:
        raise ConfigJsonError(f"{', '.join(missing)}: missing. Add the value that the model was trained with.")
    head_size = content.get("head_dim")
    if family == "qwen3" and head_size is None:
        raise ConfigJsonError("head_dim: missing. Add the value that the model was trained with.")
    if head_size is not None and head_size * values["num_heads"] != values["hidden_size"]:
        values["head_size"] = head_size
    tied = bool(content.get("tie_word_embeddings", False))
    values |= {"num_experts": 0, "expert_size": values["dense_size"], "top_k": 1, "tied_head": tied}
    return ArcticConfig(**values, **FAMILIES[family])


def our_name(name: str) -> str:
    """The name of their tensor `name` in our model.

    >>> our_name("model.layers.3.mlp.up_proj.weight")
    'model.layers.3.residual_mlp.w3.weight'
    """
    for theirs, ours in RENAMED.items():
        name = name.replace(theirs, ours)
    return name
