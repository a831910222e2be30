"""What each engine can compute: the one place that knows which models an engine cannot express, and why.

`docs/export.md` has the same table for people, made from this one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from arctic_model import config_json
from arctic_model.config import ArcticConfig
from arctic_model.export.errors import ExportError


@dataclass(frozen=True)
class Feature:
    """Something that some models have: its name, whether a config has it, and by engine why it cannot be computed."""

    name: str
    is_used: Callable[[ArcticConfig], bool]
    refused: Mapping[str, str]


LLAMA_CPP, VLLM = "llama.cpp", "vLLM"
FEATURES: Sequence[Feature] = (
    Feature(
        "router bias (`router_bias`)",
        lambda config: config.router_bias,
        {LLAMA_CPP: "its graph for Arctic has no bias of the router"},
    ),
    Feature(
        "another shape than Arctic's",
        lambda config: any(name in config_json.SHAPE for name in config.to_dict()),
        {
            "transformers": "the exported modeling file has Arctic's layers only",
            VLLM: "it loads the modeling file of transformers",
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
    """What of a model `engine` cannot compute, with the reason, one line each."""
    return [
        f"{feature.name}: {feature.refused[engine]}"
        for feature in FEATURES
        if engine in feature.refused and feature.is_used(config)
    ]


def inexpressible(config: ArcticConfig, to: str) -> list[str]:
    """Why the engine that validates the format `to` cannot compute the model: one line each, none if it can."""
    engine = LOADED_BY[to][0]
    mend = "Give the model Arctic's shape." if to == "huggingface" else "Use huggingface."
    return [f"{to!r}: {engine} cannot compute {line}. {mend}" for line in refusals(config, engine)]


def require_expressible(config: ArcticConfig, to: str) -> None:
    """Raise ExportError if the engine that validates the format `to` cannot compute the model."""
    if lines := inexpressible(config, to):
        raise ExportError("\n".join(f"--to {line}" for line in lines))
