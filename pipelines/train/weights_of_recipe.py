"""The weights that a recipe begins with: checked before anything starts. No torch here."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
"""Fields of `model.overrides` that set the values by which architectures are compared."""
MOMENTUM = {"muon": "momentum_buffer", "adamw": "exp_avg"}
"""State of a layer's matrix, by optimizer."""


@dataclass(frozen=True)
class RunWeights:
    """Weights from folders: the initial weights of the first phase, None if they are random, and those that fine-tunes
    start from, by name."""

    initial: PinnedWeights | None = None
    bases: Mapping[str, PinnedWeights] = field(default_factory=dict)

    def params(self) -> dict[str, Any]:
        """Plain data that fixes all of them."""
        bases = {name: weights.digest for name, weights in self.bases.items()}
        return {**(self.initial.params() if self.initial else {}), **({"bases": bases} if bases else {})}


def fingerprint(run: RunRecipe, config: ArcticConfig, folder: Path) -> RunWeights:
    """The weights that a run recipe in `folder` reads from folders, for a model of `config`.

    Raises RecipeError if they cannot be used.
    """
    initial = _fingerprint(run, config, folder, "model.init_from", run.model.init_from) if run.model.init_from else None
    bases = {
        section.base: _fingerprint(run, config, folder, f"finetune.{number}.from", section.base)
        for number, section in enumerate(run.finetune, start=1)
        if section.is_from_folder
    }
    return RunWeights(initial, bases)


def _fingerprint(run: RunRecipe, config: ArcticConfig, folder: Path, place: str, init_from: str) -> PinnedWeights:
    """The weights in the folder `init_from`, which the field `place` names."""
    source, is_initial = source_folder(init_from, folder), place.startswith("model.")
    try:
        # Hashed before the first step; here only headers are read.
        found = read_config(source) if (source / HASHES).is_file() else require_complete(source)
        for fault in (*_faults(run, found, config), *_other_tokens(run, source, folder)):
            raise RecipeError(f"{place} = {init_from!r}: {fault}")
        if is_initial and run.model.init_optimizer:
            _require_optimizer(run, source, is_upcycled(found, config))
        with_optimizer = is_initial and run.model.init_optimizer
        return PinnedWeights(init_from, folder, digest(source), with_optimizer, place)
    except CheckpointError as error:
        raise RecipeError(f"{place} = {init_from!r}: {error}") from None


def _faults(run: RunRecipe, source: ArcticConfig, config: ArcticConfig) -> Iterator[str]:
    """Field, value and remedy of each difference between the model and the weights."""
    for name, (found, required) in mismatches(source, config).items():
        own = FIELDS.get(name, name)
        if name == "vocab_size" and "vocab_size" not in run.model.overrides:
            yield f"has {required} rows in its embedding, tokenizer.vocab_size = {found}. Set vocab_size = {required}."
        else:
            value = json.dumps(required)
            yield f"its model has {own} = {value}, the recipe's {found!r}. Set model.overrides.{own} = {value}."


def _other_tokens(run: RunRecipe, source: Path, folder: Path) -> Iterator[str]:
    """Ids that mean other tokens to the weights than to the run."""
    if not run.tokenizer.path:
        yield "a newly trained tokenizer gives ids another meaning. Set tokenizer.path to that of the weights."
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
