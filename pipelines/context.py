"""The context length of each phase: the recipe's phases translated to the model's config."""

from collections.abc import Iterator
from dataclasses import replace

from arctic_model.config import ArcticConfig
from data_recipes import RunRecipe
from data_recipes.sections.curriculum import PhaseSection


def longest_before(run: RunRecipe, number: int) -> int:
    """The longest sequences that training knows before phase `number`, from 1."""
    return max(run.tokenize.sequence_length, *run.sequence_lengths[: number - 1], 0)


def with_context(config: ArcticConfig, run: RunRecipe, number: int) -> ArcticConfig:
    """`config`, that of the run's first step, with the positions of phase `number`."""
    for index, phase in enumerate(run.phases[:number], start=1):
        config = _lengthened(config, phase, run.sequence_lengths[index - 1], longest_before(run, index))
    return config


def context_mistakes(run: RunRecipe, config: ArcticConfig) -> Iterator[str]:
    """Phases whose context cannot be meant."""
    for number, phase in enumerate(run.phases, start=1):
        if phase.rope is None:
            continue
        field, length, before = f"phases.{number}.rope", run.sequence_lengths[number - 1], longest_before(run, number)
        earlier = with_context(config, run, number - 1)
        if length <= before:
            yield (
                f"{field} = {phase.rope.kind!r}: the phase has sequences of {length} tokens, and training "
                f"knows {before} already. Set phases.{number}.sequence_length, or remove it."
            )
        elif phase.rope.theta is not None and phase.rope.theta <= earlier.rope_theta:
            yield (
                f"{field}.theta = {phase.rope.theta:g}: the base is {earlier.rope_theta:g} before, and a longer "
                "context needs a larger one. Raise it."
            )
        elif phase.rope.factor is not None and phase.rope.factor * before < length:
            yield (
                f"{field}.factor = {phase.rope.factor:g}: makes {phase.rope.factor * before:g} of {before} positions, "
                f"and the phase has sequences of {length} tokens. Use {length / before:g} or more."
            )


def _lengthened(config: ArcticConfig, phase: PhaseSection, length: int, before: int) -> ArcticConfig:
    config = replace(config, max_positions=max(config.max_positions, length))
    if phase.rope is None:
        return config
    if phase.rope.kind == "abf":
        assert phase.rope.theta
        return replace(config, rope_theta=phase.rope.theta)
    assert phase.rope.factor
    return replace(
        config,
        yarn_factor=phase.rope.factor,
        yarn_original_positions=before,
        yarn_beta_fast=phase.rope.beta_fast,
        yarn_beta_slow=phase.rope.beta_slow,
        yarn_attention_factor=phase.rope.attention_factor,
    )
