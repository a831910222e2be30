"""The numbers that recipes fix for a model and its training, and mistakes with the name of their file."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from arctic_model.config import ArcticConfig
from arctic_model.presets import preset
from arctic_model.sizing.parallel import ParallelConfig
from data_recipes import CorpusRecipe, RecipeError, RunRecipe
from data_recipes.section import ExtensionSection
from pipelines.context import with_context
from pipelines.train.from_recipe import parallel_config

Recipes = Mapping[str, tuple[Path, CorpusRecipe]]
"""Corpus recipes by name, each with the file it came from."""


PLACES = {
    **{field.name: "train." for field in fields(ParallelConfig)},
    **{field.name: "model.overrides." for field in fields(ArcticConfig)},
    "sequence_length": "tokenize.",
    "preset": "model.",
}
"""The section of a recipe that sets each number of a model and its training."""


@contextmanager
def mistakes_of(path: Path) -> Iterator[None]:
    """A RecipeError that is raised inside, about a file that the recipe at `path` names, gets the recipe's name."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def model_config(run: RunRecipe) -> ArcticConfig:
    """The architecture that `run` trains: its preset with the tokenizer's vocabulary and the overrides. Raises
    ConfigError if it contradicts itself."""
    return preset(run.model.preset, {"vocab_size": run.tokenizer.vocab_size, **run.model.overrides})


def phase_config(run: RunRecipe, number: int) -> ArcticConfig:
    """The architecture in phase `number`, from 1. Raises ConfigError if it contradicts itself."""
    return with_context(model_config(run), run, number)


def run_parallel_config(run: RunRecipe) -> ParallelConfig:
    """How `run` divides its training over workers. Raises ConfigError."""
    return parallel_config(run.train, run.tokenize.sequence_length)


def has_heldout(corpora: Iterable[CorpusRecipe]) -> bool:
    """Whether any corpus keeps documents from training, to measure bits per byte on."""
    return any(
        corpus.source.heldout_fraction > 0
        or any(isinstance(item, ExtensionSection) or item.has_questions for item in corpus.source.inputs)
        for corpus in corpora
    )
