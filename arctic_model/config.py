"""The architecture in a dozen numbers. No torch here, so that planning a run stays quick."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from arctic_errors import UserError
from arctic_model import config_json

KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
}
"""Types that a field accepts, and their name in messages."""

LARGEST_COUNT = 2**48
"""More than any model could have of anything, and little enough that sizes in bytes fit 64 bits."""


class ConfigError(UserError, ValueError):
    """Numbers of a model, or of its training, that cannot work.

    `rule` names each of `values` in braces, so that a caller can prefix the names with their place in a recipe.
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
    """A dense transformer with a mixture of experts beside it in every layer.

    The dense MLP is as wide as the model (`hidden_size`), as in the released Arctic; `expert_size` is the inner
    width F of one expert. Raises ConfigError if the numbers cannot make a model.
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

    def __post_init__(self) -> None:
        for field in fields(self):
            self._require_kind(field.name, field.type)
        for name in config_json.NAMES:
            self._require_size(name)
        require_divisor(num_heads=self.num_heads, hidden_size=self.hidden_size)
        require_divisor(num_kv_heads=self.num_kv_heads, num_heads=self.num_heads)
        if self.head_dim % 2:
            raise ConfigError(
                f"{{hidden_size}} over {{num_heads}} gives heads of width {self.head_dim}; it must be even, as "
                "rotary positions turn pairs. Change one of the two.",
                hidden_size=self.hidden_size,
                num_heads=self.num_heads,
            )
        if self.top_k > self.num_experts:
            raise ConfigError(
                "{top_k} is more than {num_experts}. Lower it or add experts.",
                top_k=self.top_k,
                num_experts=self.num_experts,
            )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_heads

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for a stage's key."""
        return asdict(self)

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

    def _require_kind(self, name: str, kind: Any) -> None:
        """A float is no count, even a whole one, and neither is a truth value."""
        value = getattr(self, name)
        allowed, word = KINDS[kind]
        if type(value) not in allowed:
            raise ConfigError(f"{{{name}}}: must be {word}. Change the value.", **{name: value})
