"""Named architectures. A recipe takes one and replaces fields by name."""

from collections.abc import Mapping
from typing import Any

from arctic_model.config import ArcticConfig, ConfigError

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
    # A ladder for one GPU of 80 GB in Arctic's proportions: seven query heads to a key-value head (five in the middle),
    # experts two thirds as wide as the model. Named by total and active parameters; the larger the model, the fewer
    # its experts, so that weights, gradients and optimizer states stay below 65 GB.
    "arctic-1.4b-a150m": ArcticConfig(
        vocab_size=32_000,
        hidden_size=896,
        num_layers=12,
        num_heads=14,
        num_kv_heads=2,
        num_experts=64,
        expert_size=640,
        max_positions=4096,
    ),
    "arctic-2.5b-a400m": ArcticConfig(
        vocab_size=32_000,
        hidden_size=1280,
        num_layers=20,
        num_heads=20,
        num_kv_heads=4,
        num_experts=32,
        expert_size=896,
        max_positions=4096,
    ),
    "arctic-3.6b-a1b": ArcticConfig(
        vocab_size=32_000,
        hidden_size=1792,
        num_layers=30,
        num_heads=14,
        num_kv_heads=2,
        num_experts=16,
        expert_size=1152,
        max_positions=4096,
    ),
    # The released model: old copies of its config list 56 key-value heads, the published counts prove 8.
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
    """The preset `name` with fields replaced. Raises ConfigError naming the wrong name and the valid ones."""
    if name not in PRESETS:
        raise ConfigError(f"{{preset}}: no such preset. There are {', '.join(PRESETS)}.", preset=name)
    return ArcticConfig.from_dict(PRESETS[name].to_dict() | dict(overrides or {}))
