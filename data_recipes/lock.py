"""A resolved recipe with the fingerprints of its inputs, as one canonical JSON page: the input of a replay."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from data_recipes.explain import explain
from data_recipes.schema import CorpusRecipe, RunRecipe
from data_recipes.section import RecipeError

FORMAT = 3
Recipe = TypeVar("Recipe", CorpusRecipe, RunRecipe)


@dataclass(frozen=True)
class Lock:
    """`run` is None for a single corpus. `fingerprints` are by corpus: digests that fix the content of its inputs;
    `tokenizer`: the same of the run's tokenizer, `weights` of its initial weights. `earlier`: corpora that these are
    deduplicated against and that are not their own. `folders`: folders from which relative paths start, by corpus, and
    under "" those of the run; they fix nothing."""

    run: RunRecipe | None
    corpora: Mapping[str, CorpusRecipe]
    fingerprints: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, str]
    earlier: Mapping[str, CorpusRecipe] = field(default_factory=dict)
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "run": self.run.as_params() if self.run else None,
            "corpora": {name: corpus.as_params() for name, corpus in self.corpora.items()},
            "earlier": {name: corpus.as_params() for name, corpus in self.earlier.items()},
            "folders": dict(self.folders),
            "fingerprints": {name: dict(fingerprints) for name, fingerprints in self.fingerprints.items()},
            "tokenizer": dict(self.tokenizer),
            "weights": dict(self.weights),
        }

    def to_json(self) -> str:
        """The same lock always gives the same text."""
        return json.dumps(self.as_plain(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, path: Path) -> "Lock":
        """The lock in `text`, read from `path`. Raises RecipeError."""
        try:
            page = json.loads(text)
            if page["format"] != FORMAT:
                raise RecipeError(
                    f"{path}: format = {page['format']}: this version reads format {FORMAT}. Lock it again."
                )
            run = _recipe(RunRecipe, page["run"], path) if page["run"] else None
            corpora, earlier = (_corpora(page[field], path) for field in ("corpora", "earlier"))
            others = (page["folders"], earlier, page["tokenizer"], page["weights"])
            return cls(run, corpora, page["fingerprints"], *others)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise RecipeError(f"{path}: not a recipe lock ({error!r}). Lock the recipe again.") from None

    def require_fingerprints(self, current: "Lock", path: Path) -> None:
        """Raise RecipeError if the inputs of `current`, locked now, are not those of this lock at `path`."""
        changed = [
            name
            for name, fingerprints in self.fingerprints.items()
            if dict(current.fingerprints[name]) != dict(fingerprints)
        ]
        if dict(self.tokenizer) != dict(current.tokenizer):
            changed.append("tokenizer")
        if dict(self.weights) != dict(current.weights):
            changed.append("weights")
        if changed:
            raise RecipeError(
                f"{path}: fingerprints.{changed[0]}: the inputs of {', '.join(changed)} are not the ones that were "
                "locked. Bring the locked inputs back, or lock the recipe again."
            )


def _corpora(page: Mapping[str, Any], path: Path) -> dict[str, CorpusRecipe]:
    return {name: _recipe(CorpusRecipe, corpus, path) for name, corpus in page.items()}


def _recipe(model: type[Recipe], page: Any, path: Path) -> Recipe:
    """A page of the lock at `path`. Raises RecipeError if this version refuses it."""
    try:
        return model.model_validate_json(json.dumps(page))
    except ValidationError as error:
        raise RecipeError("\n".join(f"{path}: {line}" for line in explain(error, model))) from None
