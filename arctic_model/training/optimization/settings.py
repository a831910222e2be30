"""The settings of optimization: plain data, without torch."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

MOMENTS = ("exp_avg", "exp_avg_sq")
MOMENTUM_BUFFER = "momentum_buffer"


LoraTarget = Literal["attention", "dense", "experts"]
ModelPart = Literal["embeddings", "attention", "dense", "router", "experts", "norms", "head"]
"""A part of a model that can be frozen: every parameter belongs to one."""
MODEL_PARTS: tuple[ModelPart, ...] = get_args(ModelPart)
PATHS: tuple[tuple[str, ModelPart], ...] = (
    ("norm.weight", "norms"),
    ("embed_tokens", "embeddings"),
    ("lm_head", "head"),
    (".experts.", "experts"),
    (".gate.", "router"),
    (".self_attn.", "attention"),
    (".residual_mlp.", "dense"),
)
"""Pieces of a parameter's name that mark its part, the first that fits first."""


def part_of(name: str) -> ModelPart:
    """The part of the model that the parameter or buffer `name` belongs to.

    >>> part_of("model.layers.0.self_attn.q_norm.weight"), part_of("model.layers.0.self_attn.q_proj.bias")
    ('norms', 'attention')
    """
    return next(part for piece, part in PATHS if piece in name)


@dataclass(frozen=True)
class Lora:
    """Which matrices get an adapter, and how large it is.

    Args:
        rank: r, of A [r, D_in] and B [D_out, r].
        alpha: scale of the adapters, times `rank`.
        rslora: scale by alpha / sqrt(r) instead of alpha / r (Kalajdzievski 2023, arXiv 2312.03732).
        targets: parts of a layer. Every token passes attention and the dense MLP; of the experts, each has its own.
        dropout: probability that an element of an adapter's input is left out in training. Not for experts.
        quantize_base: hold the frozen matrices of the layers in FP8 blocks, a byte per weight.
        tokens: ids whose rows of the embedding and of the head are trained as well.
    """

    rank: int = 16
    alpha: float = 32.0
    rslora: bool = False
    targets: tuple[LoraTarget, ...] = ("attention", "dense")
    dropout: float = 0.0
    quantize_base: bool = False
    tokens: tuple[int, ...] = ()

    @property
    def scale(self) -> float:
        """Factor of the product of the two matrices."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


@dataclass(frozen=True)
class Dpo:
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290): of two answers, the chosen one should
    gain more probability over the start of the fine-tune than the rejected one.

    Args:
        beta: how far answers may move away from the start; the smaller, the further.
        label_smoothing: probability that a pair is labelled the wrong way round (Mitchell 2023, conservative DPO).
    """

    beta: float = 0.1
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Tuning:
    """How a fine-tune differs from pretraining.

    Args:
        lora: adapters to train on frozen weights. None trains every weight.
        dpo: the objective of pairs. None predicts the next token.
    """

    lora: Lora | None = None
    dpo: Dpo | None = None


PRETRAINING = Tuning()
"""All weights learn to predict tokens."""


@dataclass(frozen=True)
class Optimization:
    """How a step changes the weights: AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) or Muon (see
    `arctic_model.training.optimization.muon`), clipping to a global gradient norm, and the weights of the router's two
    losses."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    embedding_lr_factor: float = 1.0
    head_lr_factor: float = 1.0
    gate_lr_factor: float = 1.0
    norm_lr_factor: float = 1.0
    """With Muon: learning rates of the parameters that AdamW updates, as multiples of Muon's."""
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    gradient_clip: float = 1.0
    balance_loss_coefficient: float = 0.01
    z_loss_coefficient: float = 0.0
    balance_bias_rate: float = 0.0
    capacity_factor: float = 0.0
    activation_checkpointing: Literal["none", "selective", "layer"] = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype in which gradients accumulate, over micro-batches and over workers."""
    fp8: bool = False
    """Whether the layers multiply in FP8, see `arctic_model.kernels.fp8_products`."""
    engine: Literal["deepspeed", "flat"] = "deepspeed"
    """Who holds and reduces gradients, see `arctic_model.training.engine`."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    shard_group_size: int = 0
    """Workers that split the dense part between them; 0: all of them."""
    deterministic: bool = True
    """Whether a kernel whose sums have no fixed order is refused."""
    seed: int = 0
    freeze: tuple[ModelPart, ...] = ()
    """Parts whose weights and optimizer state stay as they are, the router's bias with the router."""
    tuning: Tuning = PRETRAINING
    """The settings of a fine-tune."""

    @property
    def frozen(self) -> tuple[ModelPart, ...]:
        """Parts of the model whose gradient is not computed."""
        return MODEL_PARTS if self.tuning.lora else self.freeze

    def uses_muon(self, name: str) -> bool:
        """Whether Muon updates the parameter `name`: the matrices of the layers, and each expert's.

        AdamW updates embeddings, head and the gate of the router, which do not map hidden states to hidden states, and
        the gains, biases and sinks, which are vectors (Jordan et al. 2024).
        """
        inside = self.optimizer == "muon" and ".layers." in name
        return inside and not name.endswith(("norm.weight", ".gate.weight", ".bias", ".sinks"))

    def state_names(self, name: str) -> tuple[str, ...]:
        """Kinds of the optimizer state of the parameter `name`."""
        return (MOMENTUM_BUFFER,) if self.uses_muon(name) else MOMENTS
