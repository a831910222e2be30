"""Whether a recipe can work, before anything runs: the one check that plan, run, submit, size and ablate share.

What a page alone shows, such as a share above 1, `data_recipes` has refused when it read the page. Here stand the rules
that span pages, or that only the model or a stage knows. Each rule and its sentence exist once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from arctic_model.config import ArcticConfig, ConfigError
from arctic_model.presets import preset
from arctic_model.sizing.parallel import ParallelConfig
from data_recipes import CorpusRecipe, RecipeError, RunRecipe
from pipelines.train.job import parallel_config

Recipes = Mapping[str, tuple[Path, CorpusRecipe]]
"""Corpus recipes by name, each with the file it came from."""
PLACES = {
    **{field.name: "train." for field in fields(ParallelConfig)},
    **{field.name: "model.overrides." for field in fields(ArcticConfig)},
    "sequence_length": "tokenize.",
    "preset": "model.",
}
"""The section of a recipe that sets each number of a model and its training."""


def require_fit(run: RunRecipe, path: Path) -> None:
    """Raise RecipeError, with a line for every mistake, if the run recipe at `path` cannot work."""
    mistakes = list(_model_mistakes(run))
    if mistakes:
        raise RecipeError("\n".join(f"{path}: {mistake}" for mistake in mistakes))


def model_config(run: RunRecipe) -> ArcticConfig:
    """The architecture that `run` trains: its preset with the tokenizer's vocabulary and the overrides. Raises
    ConfigError if it contradicts itself."""
    return preset(run.model.preset, {"vocab_size": run.tokenizer.vocab_size, **run.model.overrides})


def run_parallel_config(run: RunRecipe) -> ParallelConfig:
    """How `run` divides its training over workers. Raises ConfigError."""
    return parallel_config(run.train, run.tokenize.sequence_length, run.train.num_workers)


def _model_mistakes(run: RunRecipe) -> Iterator[str]:
    try:
        config = model_config(run)
        run_parallel_config(run).validate(config)
    except ConfigError as error:
        yield error.text({**dict.fromkeys(run.model.overrides, "model.overrides."), **PLACES})
        return
    if config.vocab_size < run.tokenizer.vocab_size:
        yield (
            f"model.overrides.vocab_size = {config.vocab_size} is less than tokenizer.vocab_size = "
            f"{run.tokenizer.vocab_size}: the model has no row for the other ids. Remove it, or raise it."
        )
