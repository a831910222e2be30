"""`config.json` in the words of the released Arctic: from fields of `ArcticConfig` to its content, and back.

A feature that this model does not have is refused by the name of its field. A number is never guessed: the released
modelling code has different defaults from the released model.
"""

from collections.abc import Mapping
from typing import Any

from arctic_errors import UserError

NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "num_experts": "num_local_experts",
    "top_k": "num_experts_per_tok",
    "expert_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "rope_theta": "rope_theta",
    "rms_norm_eps": "rms_norm_eps",
    "init_std": "initializer_range",
}
"""Our names and those of the released `config.json` (Snowflake/snowflake-arctic-base)."""
CONSTANTS = {
    "architectures": ["ArcticForCausalLM"],
    "model_type": "arctic",
    "hidden_act": "silu",
    "moe_layer_frequency": 1,
    "moe_token_dropping": False,
    "parallel_attn_mlp_res": True,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_residual": True,
}
"""Shared by every model of this family, so that another engine reads our `config.json` as Arctic's."""
SHAPE = {
    "layer_shape": "layer_shape",
    "moe_layer_frequency": "moe_layer_frequency",
    "dense_size": "dense_size",
    "head_size": "head_dim",
    "qk_norm": "qk_norm",
    "qkv_bias": "qkv_bias",
    "learned_sinks": "learned_sinks",
    "tied_head": "tie_word_embeddings",
}
"""Fields of shapes that the released model does not have, and their names here."""
UNSET = {"layer_shape": "hybrid", "moe_layer_frequency": 1}
"""Of these, the values of the released model that are not none or false. Only other values are written."""
SEQUENTIAL = {"parallel_attn_mlp_res": False, "use_residual": False}
"""Instead of those constants, in the shapes whose experts come after attention."""
REQUIRED = ("model_type", "moe_layer_frequency", "parallel_attn_mlp_res", "use_residual")
"""Fields without which another layer could be meant. The others may be left out."""
REFUSED = ("quantization", "quantization_config", "sliding_window", "attention_bias")
"""Features that this model does not have. A `config.json` may name them without a value."""
ROUTER_BIAS = "router_bias"
"""Written only if true: the released model has no such field."""
ROPE_KINDS = ("rope_scaling", "rope_parameters")
"""Fields that change the rotary positions: of transformers up to 4, and from 5 on."""
YARN = {
    "yarn_factor": "factor",
    "yarn_original_positions": "original_max_position_embeddings",
    "yarn_beta_fast": "beta_fast",
    "yarn_beta_slow": "beta_slow",
    "yarn_attention_factor": "attention_factor",
}
"""Fields of YaRN, and their names in `rope_parameters`."""
YARN_ARGUMENTS = {field: field.removeprefix("yarn_") for field in YARN}
"""Their names in `arctic_model.rope.Rope`."""
YARN_REFUSED = {"mscale": None, "mscale_all_dim": None, "truncate": True, "partial_rotary_factor": 1.0}
"""Further numbers of YaRN that other models have, with the only value that is computed here."""
LATER = frozenset(SHAPE) | frozenset(YARN)
"""Fields that came after the first models."""


class ConfigJsonError(UserError, ValueError):
    """A `config.json` that describes no model of this family. The message names the field, its value and the remedy."""


def content(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the `config.json` of a model with these `fields` of `ArcticConfig`."""
    numbers = {name: fields[field] for field, name in NAMES.items()}
    optional = {name: fields[field] for field, name in (SHAPE | {ROUTER_BIAS: ROUTER_BIAS}).items()}
    family = CONSTANTS if fields["layer_shape"] == "hybrid" else CONSTANTS | SEQUENTIAL
    written = {name: value for name, value in optional.items() if _is_set(name, value)}
    scaled = {"rope_parameters": rope_parameters(fields)} if fields["yarn_factor"] > 1 else {}
    return numbers | family | written | scaled


def rope_parameters(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary positions of a model with these `fields` of `ArcticConfig`, as transformers 5 and vLLM read them."""
    base = {"rope_type": "default", "rope_theta": fields["rope_theta"]}
    if fields["yarn_factor"] == 1:
        return base
    yarn = {name: fields[field] for field, name in YARN.items() if fields[field] is not None}
    return base | {"rope_type": "yarn"} | yarn


def fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `content`, for a file that any tool wrote.

    Raises:
        ConfigJsonError: if a field is missing, or describes another model than this package has.
    """
    rope = rope_fields(content)
    values = {**content, "rope_theta": rope["rope_theta"]}
    _require_family(values)
    missing = [name for name in NAMES.values() if values.get(name) is None]
    if missing:
        raise ConfigJsonError(f"{', '.join(missing)}: missing. Add the value that the model was trained with.")
    read = {field: values[name] for field, name in NAMES.items()}
    shape = {field: value for field, name in SHAPE.items() if _is_set(name, value := values.get(name))}
    if shape.get("head_size") and shape["head_size"] * read["num_heads"] == read["hidden_size"]:
        del shape["head_size"]
    return read | shape | rope | {ROUTER_BIAS: values.get(ROUTER_BIAS, False)}


def rope_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_theta` and the fields of YaRN, which either layout of the file may hold.

    Raises:
        ConfigJsonError: if positions are scaled in another way than YaRN's.
    """
    fields: dict[str, Any] = {"rope_theta": values.get("rope_theta")}
    for name in ROPE_KINDS:
        rope = values.get(name) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in ("default", "yarn"):
            raise ConfigJsonError(
                f"{name} = {rope!r}: positions scaled by {kind!r} are not supported. Use the model before its context "
                "was extended."
            )
        fields["rope_theta"] = rope.get("rope_theta", fields["rope_theta"])
        if kind == "yarn":
            fields |= _yarn_fields(name, rope, values)
    return fields


def _yarn_fields(place: str, rope: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    for name, computed in YARN_REFUSED.items():
        if rope.get(name, computed) != computed:
            raise ConfigJsonError(f"{place}.{name} = {rope[name]!r}: not supported. Use a model without it.")
    if rope.get("factor") is None:
        raise ConfigJsonError(f"{place} = {rope!r}: factor is missing. Add the value that the model was trained with.")
    scaling = {field: rope[name] for field, name in YARN.items() if rope.get(name) is not None}
    return {"yarn_original_positions": values.get("max_position_embeddings")} | scaling


def _is_set(name: str, value: Any) -> bool:
    return bool(value) and value != UNSET.get(name)


def _require_family(values: Mapping[str, Any]) -> None:
    shape = values.get("layer_shape", "hybrid")
    family = CONSTANTS if shape == "hybrid" else CONSTANTS | SEQUENTIAL
    for name in ("model_type", "hidden_act", "parallel_attn_mlp_res", "use_residual"):
        if (name in values or name in REQUIRED) and values.get(name) != family[name]:
            value = f" = {values[name]!r}" if name in values else ": missing"
            raise ConfigJsonError(f"{name}{value}. This package reads models with {name} = {family[name]!r}.")
    if values.get("moe_layer_frequency") is None:
        raise ConfigJsonError("moe_layer_frequency: missing. Add it: 1 if every layer has experts.")
    for name in REFUSED:
        if values.get(name):
            raise ConfigJsonError(f"{name} = {values[name]!r}: not supported. Convert the model to one without it.")
