"""The tensors of a model by the released model's names, from its config alone. No torch here."""

from collections.abc import Iterator

from arctic_model.config import ArcticConfig

Shape = tuple[int, ...]
ROUTER_BIAS = ".e_score_correction_bias"
"""End of the names of routers' biases, which are float32 in a model of any dtype."""


def tensor_shapes(config: ArcticConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of a model, [out, in] for matrices.

    Example:
        >>> from arctic_model import preset
        >>> shapes = tensor_shapes(preset("arctic-480b"))
        >>> len(shapes), shapes["model.layers.34.block_sparse_moe.experts.127.w2.weight"]
        (13828, (7168, 4864))
    """
    vocabulary, width = config.vocab_size, config.hidden_size
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (vocabulary, width)}
    for number in range(config.num_layers):
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in _layer(config, number)}
    shapes["model.norm.weight"] = (width,)
    return shapes if config.tied_head else shapes | {"lm_head.weight": (vocabulary, width)}


def _layer(config: ArcticConfig, number: int) -> Iterator[tuple[str, Shape]]:
    width, has_experts, has_mlp = config.hidden_size, number in config.moe_layers, config.has_mlp(number)
    yield "input_layernorm.weight", (width,)
    yield from _attention(config)
    if has_mlp and not (has_experts and config.layer_shape == "shared"):
        yield "residual_layernorm.weight", (width,)
    if has_mlp:
        yield from _swiglu("residual_mlp", config.mlp_size, width)
    if has_experts:
        yield "post_attention_layernorm.weight", (width,)
        yield from _mixture(config)


def _mixture(config: ArcticConfig) -> Iterator[tuple[str, Shape]]:
    yield "block_sparse_moe.gate.weight", (config.num_experts, config.hidden_size)
    for expert in range(config.num_experts):
        yield from _swiglu(f"block_sparse_moe.experts.{expert}", config.expert_size, config.hidden_size)
    if config.router_bias:
        yield f"block_sparse_moe.gate{ROUTER_BIAS}", (config.num_experts,)


def _attention(config: ArcticConfig) -> Iterator[tuple[str, Shape]]:
    if config.learned_sinks:
        yield "self_attn.sinks", (config.num_heads,)
    for name, out in (("q", config.query_size), ("k", config.key_size), ("v", config.key_size)):
        yield f"self_attn.{name}_proj.weight", (out, config.hidden_size)
        if config.qkv_bias:
            yield f"self_attn.{name}_proj.bias", (out,)
        if config.qk_norm and name != "v":
            yield f"self_attn.{name}_norm.weight", (config.head_dim,)
    yield "self_attn.o_proj.weight", (config.hidden_size, config.query_size)


def _swiglu(name: str, inner: int, width: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.w1.weight", (inner, width)
    yield f"{name}.w2.weight", (width, inner)
    yield f"{name}.w3.weight", (inner, width)
