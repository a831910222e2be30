"""The architecture in a dozen numbers. No torch here, so that planning a run stays quick."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from arctic_errors import UserError
from arctic_model import config_json
from arctic_model.rope import Rope

KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    str: ((str,), "a text"),
    int | None: ((int, type(None)), "a whole number"),
    float | None: ((int, float, type(None)), "a number"),
}
"""Types that a field accepts, and their name in messages."""

LAYER_SHAPES = ("hybrid", "shared", "moe")
"""Experts in parallel to attention and the dense MLP, as in Arctic; after attention and in parallel to the dense MLP, a
shared expert; after attention and instead of the dense MLP."""
CONTEXT = ("max_positions", "rope_theta", *config_json.YARN)
"""Fields that no weight depends on, so that training goes on with others."""
LONGEST_BIAS = 1024
"""Tokens of the longest sequences whose documents a matrix separates in attention (see
`arctic_model.layers.attention.document_mask.document_mask`)."""
LARGEST_COUNT = 2**48
"""More than any model could have of anything, and little enough that sizes in bytes fit 64 bits."""


class ConfigError(UserError, ValueError):
    """Numbers of a model, or of its training, that cannot work.

    `rule` names each of `values` in braces, so that a caller can prefix the names with their path in a recipe.
    """

    def __init__(self, rule: str, **values: Any) -> None:
        self.rule = rule
        self.values = values
        super().__init__(self.text({}))

    def text(self, prefixes: Mapping[str, str]) -> str:
        """The message, with a prefix before each name that has one in `prefixes`: `train.` for `dtype`."""
        text = self.rule
        for name, value in self.values.items():
            text = text.replace(f"{{{name}}}", f"{prefixes.get(name, '')}{name} = {value!r}")
        return text


def require_divisor(**numbers: int) -> None:
    """Takes two numbers by name. Raises ConfigError unless the first divides the second."""
    (divisor, small), (whole, large) = numbers.items()
    if large % small:
        raise ConfigError(f"{{{divisor}}} does not divide {{{whole}}}. Choose a divisor.", **numbers)


@dataclass(frozen=True)
class ArcticConfig:
    """A dense transformer with a mixture of experts in parallel in every layer.

    `expert_size` is the inner width F of one expert. The fields from `layer_shape` on are other shapes than the
    released Arctic's; a dense model has `num_experts = 0`. Raises ConfigError if the numbers cannot make a model.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    num_experts: int
    expert_size: int
    max_positions: int
    top_k: int = 2
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-5
    init_std: float = 0.02
    router_bias: bool = False
    """Whether each router adds a bias to its scores for the choice of experts (`arctic_model.moe.router.route`)."""
    layer_shape: str = "hybrid"
    """Position of the experts, one of LAYER_SHAPES (see `arctic_model.layer`)."""
    moe_layer_frequency: int = 1
    """Every n-th layer has experts: with 2 the second, the fourth and so on. The others are dense layers."""
    dense_size: int | None = None
    """Inner width of the dense MLP; None: as wide as the model, as in the released Arctic."""
    head_size: int | None = None
    """Width C of one attention head; None: `hidden_size` over `num_heads`."""
    qk_norm: bool = False
    """Whether RMSNorm is applied to every query and key head (Henry et al. 2020, arXiv 2010.04245; as in Qwen3)."""
    qkv_bias: bool = False
    """Whether queries, keys and values have a bias (as in Qwen2)."""
    learned_sinks: bool = False
    """Whether each query head has a learned score of a key without a value, its sink: a head may attend to nothing
    (as in gpt-oss, arXiv 2508.10925)."""
    tied_head: bool = False
    """Whether the output head is the embedding (Press and Wolf 2016, arXiv 1608.05859)."""
    yarn_factor: float = 1.0
    """How many times longer YaRN made the context (see `arctic_model.rope`); 1: positions are not scaled."""
    yarn_original_positions: int | None = None
    """Context length before YaRN."""
    yarn_beta_fast: float = 32.0
    """Pairs of a head that turn more often within the original context keep their frequency."""
    yarn_beta_slow: float = 1.0
    """Pairs that turn less often within the original context are divided by `yarn_factor`."""
    yarn_attention_factor: float | None = None
    """Factor of cosine and sine; None: 0.1 ln(yarn_factor) + 1."""

    def __post_init__(self) -> None:
        for field in fields(self):
            self._require_kind(field.name, field.type)
        for name in (*config_json.NAMES, "moe_layer_frequency", "dense_size", "head_size", *config_json.YARN):
            if name != "num_experts" and getattr(self, name) is not None:
                self._require_size(name)
        self._require_experts()
        self._require_yarn()
        if self.head_size is None:
            require_divisor(num_heads=self.num_heads, hidden_size=self.hidden_size)
        require_divisor(num_kv_heads=self.num_kv_heads, num_heads=self.num_heads)
        self._require_pairs()

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.head_size or self.hidden_size // self.num_heads

    @property
    def rope(self) -> Rope:
        """The rotary positions."""
        yarn = {name: getattr(self, field) for field, name in config_json.YARN_ARGUMENTS.items()}
        return Rope(self.head_dim, self.rope_theta, **yarn)

    @property
    def query_size(self) -> int:
        """Width of all query heads together, H * C."""
        return self.num_heads * self.head_dim

    @property
    def key_size(self) -> int:
        """Width of all key heads together, G * C; the values are as wide."""
        return self.num_kv_heads * self.head_dim

    @property
    def mlp_size(self) -> int:
        """Inner width of the dense MLP."""
        return self.dense_size or self.hidden_size

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Numbers of the layers with experts, as the released modelling code counts them."""
        every = self.moe_layer_frequency
        return tuple(range(every - 1, self.num_layers, every)) if self.num_experts else ()

    def has_mlp(self, layer: int) -> bool:
        """Whether the layer of this number has a dense MLP."""
        return self.layer_shape != "moe" or layer not in self.moe_layers

    def with_context_of(self, other: "ArcticConfig") -> "ArcticConfig":
        """This architecture with the positions of `other`: a phase may lengthen the context of the previous one."""
        return replace(self, **{name: getattr(other, name) for name in CONTEXT})

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for a stage's key: fields that came later are left out at their defaults."""
        return {name: value for name, value in asdict(self).items() if name not in DEFAULTS or value != DEFAULTS[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ArcticConfig":
        """The inverse of `to_dict`. Raises ConfigError for a name that is no field."""
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                rule = f"{{{name}}}: no such field. The fields are {', '.join(names)}."
                raise ConfigError(rule, **{name: values[name]})
        return cls(**values)

    def to_huggingface(self) -> dict[str, Any]:
        """The content of a `config.json` in the released model's words."""
        return config_json.content(asdict(self))

    @classmethod
    def from_huggingface(cls, content: Mapping[str, Any]) -> "ArcticConfig":
        """The inverse of `to_huggingface`, for a `config.json` that any tool wrote.

        Raises:
            ConfigJsonError: if a field is missing, or describes another model than this package has.
            ConfigError: if the numbers cannot make a model.
        """
        return cls(**config_json.fields(content))

    def _require_size(self, name: str) -> None:
        value = getattr(self, name)
        if not 0 < value < math.inf:
            raise ConfigError(f"{{{name}}}: must be above 0, and finite. Change the value.", **{name: value})
        if type(value) is int and value > LARGEST_COUNT:
            raise ConfigError(f"{{{name}}}: must be at most {LARGEST_COUNT}. Lower it.", **{name: value})

    def _require_experts(self) -> None:
        if self.layer_shape not in LAYER_SHAPES:
            raise ConfigError(
                f"{{layer_shape}}: must be {', '.join(LAYER_SHAPES)}. Choose one.", layer_shape=self.layer_shape
            )
        if self.num_experts == 0:
            self._require_dense()
            return
        self._require_size("num_experts")
        if self.top_k > self.num_experts:
            raise ConfigError(
                "{top_k} is more than {num_experts}. Lower it or add experts.",
                top_k=self.top_k,
                num_experts=self.num_experts,
            )
        if self.moe_layer_frequency > self.num_layers:
            raise ConfigError(
                "{moe_layer_frequency} is more than {num_layers}, so no layer has experts. Lower it, or set "
                "num_experts = 0.",
                moe_layer_frequency=self.moe_layer_frequency,
                num_layers=self.num_layers,
            )

    def _require_dense(self) -> None:
        """Fields about experts must be unset."""
        for name, value in (("layer_shape", "hybrid"), ("moe_layer_frequency", 1), ("router_bias", False)):
            if getattr(self, name) != value:
                raise ConfigError(
                    f"{{{name}}} with {{num_experts}}: the model has no experts. Remove it, or add experts.",
                    **{name: getattr(self, name), "num_experts": 0},
                )

    def _require_yarn(self) -> None:
        if self.yarn_factor < 1:
            raise ConfigError("{yarn_factor}: must be 1, for no scaling, or more.", yarn_factor=self.yarn_factor)
        if self.yarn_factor > 1 and self.yarn_original_positions is None:
            raise ConfigError(
                "{yarn_factor} without yarn_original_positions: the scaling depends on the context length before it. "
                "Set both.",
                yarn_factor=self.yarn_factor,
            )
        for name in config_json.YARN if self.yarn_factor == 1 else ():
            if getattr(self, name) != DEFAULTS[name]:
                raise ConfigError(
                    f"{{{name}}} with {{yarn_factor}}: positions are not scaled. Remove it, or set a factor above 1.",
                    **{name: getattr(self, name), "yarn_factor": 1.0},
                )
        if self.yarn_beta_fast <= self.yarn_beta_slow:
            raise ConfigError(
                "{yarn_beta_fast} must be above {yarn_beta_slow}. Change one of the two.",
                yarn_beta_fast=self.yarn_beta_fast,
                yarn_beta_slow=self.yarn_beta_slow,
            )

    def _require_pairs(self) -> None:
        if self.head_dim % 2 == 0:
            return
        rule = "it must be even, as rotary positions turn pairs."
        if self.head_size is not None:
            raise ConfigError(f"{{head_size}}: {rule} Change the value.", head_size=self.head_size)
        raise ConfigError(
            f"{{hidden_size}} over {{num_heads}} gives heads of width {self.head_dim}; {rule} Change one of the two.",
            hidden_size=self.hidden_size,
            num_heads=self.num_heads,
        )

    def _require_kind(self, name: str, kind: Any) -> None:
        """A float is no count, even a whole one, and neither is a truth value."""
        value = getattr(self, name)
        allowed, word = KINDS[kind]
        if type(value) not in allowed:
            raise ConfigError(f"{{{name}}}: must be {word}. Change the value.", **{name: value})


DEFAULTS: Mapping[str, Any] = {
    field.name: field.default
    for field in fields(ArcticConfig)
    if field.default is not MISSING and field.name in config_json.LATER
}
"""Of the fields that came after the first models: these have no such field in their keys and files."""
