"""The weights that a recipe begins with: checked before anything starts. No torch here."""

import json
from collections.abc import Iterator
from pathlib import Path

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.model_folder import read_config, require_complete
from arctic_model.checkpoint.tensors.safetensors_header import read_header
from arctic_model.checkpoint.upcycling import is_upcycled, mismatches
from arctic_model.config import ArcticConfig
from data_recipes.schema import RunRecipe
from data_recipes.section import RecipeError
from pipelines.artifacts.tokenization.tokenizer import TOKENIZER_FILE, read_tokenizer
from pipelines.train.first_weights import HASHES, PinnedWeights, digest, source_folder

STATE = "training_state.json"
FIELDS = {"head_dim": "head_size", "mlp_size": "dense_size"}
"""Fields of `model.overrides` that set what the architecture is compared by."""
MOMENTUM = {"muon": "momentum_buffer", "adamw": "exp_avg"}
"""State of a layer's matrix, by optimizer."""


def pin(run: RunRecipe, config: ArcticConfig, folder: Path) -> PinnedWeights | None:
    """The weights that a run recipe in `folder` begins with, for a model of `config`; None if they are drawn.

    Raises RecipeError if they cannot be used.
    """
    init_from = run.model.init_from
    if not init_from:
        return None
    source = source_folder(init_from, folder)
    try:
        # Hashed before the first step; here only headers are read.
        found = read_config(source) if (source / HASHES).is_file() else require_complete(source)
        for fault in (*_faults(run, found, config), *_other_tokens(run, source, folder)):
            raise RecipeError(f"model.init_from = {init_from!r}: {fault}")
        if run.model.init_optimizer:
            _require_optimizer(run, source, is_upcycled(found, config))
        return PinnedWeights(init_from, folder, digest(source), run.model.init_optimizer)
    except CheckpointError as error:
        raise RecipeError(f"model.init_from = {init_from!r}: {error}") from None


def _faults(run: RunRecipe, source: ArcticConfig, config: ArcticConfig) -> Iterator[str]:
    """Field, value and mend of what the model has and the weights have not."""
    for name, (found, required) in mismatches(source, config).items():
        field = FIELDS.get(name, name)
        if name == "vocab_size" and "vocab_size" not in run.model.overrides:
            yield f"has {required} rows in its embedding, tokenizer.vocab_size = {found}. Set vocab_size = {required}."
        else:
            value = json.dumps(required)
            yield f"its model has {field} = {value}, the recipe's {found!r}. Set model.overrides.{field} = {value}."


def _other_tokens(run: RunRecipe, source: Path, folder: Path) -> Iterator[str]:
    """Ids that mean other tokens to the weights than to the run."""
    if not run.tokenizer.path:
        yield "a tokenizer that is trained anew gives ids another meaning. Set tokenizer.path to that of the weights."
        return
    theirs = source / TOKENIZER_FILE
    if not theirs.is_file():
        return
    ours, weights = (read_tokenizer(file).get_vocab() for file in (folder / run.tokenizer.path, theirs))
    moved = sorted(name for name, index in weights.items() if ours.get(name) != index)
    if moved:
        yield (
            f"the token {moved[0]!r} has another id in its {TOKENIZER_FILE} than in tokenizer.path = "
            f"{run.tokenizer.path!r}. Use the tokenizer of the weights."
        )


def _require_optimizer(run: RunRecipe, source: Path, upcycled: bool) -> None:
    place = "model.init_optimizer = true"
    if upcycled or not (source / STATE).is_file():
        raise RecipeError(f"{place}: {source} has no optimizer state for this model. Remove it.")
    kind = MOMENTUM[run.train.optimizer]
    names = {name for file in source.glob("optimizer-*.safetensors") for name in read_header(file)}
    if not any(name.endswith(f"q_proj.weight.{kind}") for name in names):
        raise RecipeError(
            f"{place}: {source} was not trained with train.optimizer = {run.train.optimizer!r}. Use the other "
            "optimizer, or remove it."
        )
