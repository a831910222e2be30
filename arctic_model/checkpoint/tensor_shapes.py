"""The tensors of a model by the released model's names, from its config alone. No torch here."""

from collections.abc import Iterator

from arctic_model.config import ArcticConfig

Shape = tuple[int, ...]


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
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in _layer(config)}
    return shapes | {"model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}


def _layer(config: ArcticConfig) -> Iterator[tuple[str, Shape]]:
    width, key_value = config.hidden_size, config.num_kv_heads * config.head_dim
    for name in ("input", "post_attention", "residual"):
        yield f"{name}_layernorm.weight", (width,)
    for name, out in (("q", width), ("k", key_value), ("v", key_value), ("o", width)):
        yield f"self_attn.{name}_proj.weight", (out, width)
    yield from _swiglu("residual_mlp", width, width)
    yield "block_sparse_moe.gate.weight", (config.num_experts, width)
    for expert in range(config.num_experts):
        yield from _swiglu(f"block_sparse_moe.experts.{expert}", config.expert_size, width)
    if config.router_bias:
        yield "block_sparse_moe.gate.e_score_correction_bias", (config.num_experts,)


def _swiglu(name: str, inner: int, width: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.w1.weight", (inner, width)
    yield f"{name}.w2.weight", (width, inner)
    yield f"{name}.w3.weight", (inner, width)
