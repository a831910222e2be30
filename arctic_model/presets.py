"""Named architectures. A recipe takes one and replaces fields by name."""

from collections.abc import Mapping
from typing import Any

from arctic_model.config import ArcticConfig

PRESETS: Mapping[str, ArcticConfig] = {
    "tiny": ArcticConfig(
        vocab_size=384,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        num_experts=4,
        expert_size=24,
        max_positions=128,
    ),
    "quickstart": ArcticConfig(
        vocab_size=4096,
        hidden_size=128,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        num_experts=8,
        expert_size=96,
        max_positions=1024,
    ),
    # The released model; "old copies of its config say 56 key-value heads, the published counts prove 8".
    "arctic-480b": ArcticConfig(
        vocab_size=32_000,
        hidden_size=7168,
        num_layers=35,
        num_heads=56,
        num_kv_heads=8,
        num_experts=128,
        expert_size=4864,
        max_positions=4096,
    ),
}


def preset(name: str, overrides: Mapping[str, Any] | None = None) -> ArcticConfig:
    """The preset `name` with fields replaced. Raises ValueError naming what is wrong and what there is."""
    if name not in PRESETS:
        raise ValueError(f"model.preset = {name!r}: no such preset. There are {', '.join(PRESETS)}.")
    return ArcticConfig.from_dict(PRESETS[name].to_dict() | dict(overrides or {}))
