"""The models that each engine can compute: the only module that knows which models an engine does not support, and why.

`docs/tutorials/export.md` has the same table for people, made from this one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from arctic_model import config_json
from arctic_model.config import ArcticConfig
from arctic_model.export.errors import ExportError


@dataclass(frozen=True)
class Feature:
    """A property of some models: its name, whether a config has it, and by engine the reason why it is not
    supported."""

    name: str
    is_used: Callable[[ArcticConfig], bool]
    refused: Mapping[str, str]


LLAMA_CPP, VLLM = "llama.cpp", "vLLM"
Q8_0_BLOCK = 32
"""Numbers of a row that share a scale in GGUF's Q8_0."""
FEATURES: Sequence[Feature] = (
    Feature(
        "router bias (`router_bias`)",
        lambda config: config.router_bias,
        {
            LLAMA_CPP: "its graph for Arctic has no bias of the router",
            VLLM: "it routes by the gate alone, without an error",
        },
    ),
    Feature(
        "learned sinks (`learned_sinks`)",
        lambda config: config.learned_sinks,
        {
            LLAMA_CPP: "its graph for Arctic has no sinks",
            VLLM: "its own Arctic has no sinks",
        },
    ),
    Feature(
        "another shape than Arctic's",
        lambda config: any(name in config_json.SHAPE for name in replace(config, learned_sinks=False).to_dict()),
        {
            VLLM: "its own Arctic has Arctic's layers only",
            LLAMA_CPP: "its graph for Arctic has Arctic's layers only",
        },
    ),
)
LOADED_BY: Mapping[str, Sequence[str]] = {
    "huggingface": ("transformers", VLLM),
    "gguf": (LLAMA_CPP,),
    "fp8": ("transformers", VLLM),
}
"""By format, the engines that load it. The first validates it."""


def refusals(config: ArcticConfig, engine: str) -> list[str]:
    """The parts of a model that `engine` cannot compute, with the reason, one line each."""
    return [
        f"{feature.name}: {feature.refused[engine]}"
        for feature in FEATURES
        if engine in feature.refused and feature.is_used(config)
    ]


def inexpressible(config: ArcticConfig, to: str, dtype: str) -> list[str]:
    """Why a model cannot be exported to the format `to` in `dtype`: one line each, none if it can."""
    engine = LOADED_BY[to][0]
    lines = [f"to = {to!r}: {engine} cannot compute {line}. Use huggingface." for line in refusals(config, engine)]
    for name in ("hidden_size", "expert_size"):
        width = getattr(config, name)
        if dtype == "q8_0" and width % Q8_0_BLOCK:
            lines.append(
                f"dtype = 'q8_0': {name} = {width} is no multiple of {Q8_0_BLOCK}, the numbers that share a scale. "
                "Use float16."
            )
    return lines


def require_expressible(config: ArcticConfig, to: str, dtype: str) -> None:
    """Raise ExportError if a model cannot be exported to the format `to` in `dtype`."""
    if lines := inexpressible(config, to, dtype):
        raise ExportError("\n".join(lines))
