"""A resolved recipe with the pins of its inputs, as one canonical JSON page: what replay builds from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_recipes.schema import CorpusRecipe, RunRecipe
from data_recipes.section import RecipeError

FORMAT = 1


@dataclass(frozen=True)
class Lock:
    """`run` is None for a single corpus. `pins` are by corpus: digests that fix what its inputs contain."""

    run: RunRecipe | None
    corpora: Mapping[str, CorpusRecipe]
    pins: Mapping[str, Mapping[str, Any]]

    def as_plain(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "run": self.run.as_params() if self.run else None,
            "corpora": {name: corpus.as_params() for name, corpus in self.corpora.items()},
            "pins": {name: dict(pins) for name, pins in self.pins.items()},
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
                    f"{path}: format = {page['format']}: this version reads format {FORMAT}. Lock it anew."
                )
            run = RunRecipe.model_validate_json(json.dumps(page["run"])) if page["run"] else None
            corpora = {
                name: CorpusRecipe.model_validate_json(json.dumps(corpus)) for name, corpus in page["corpora"].items()
            }
            return cls(run, corpora, page["pins"])
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise RecipeError(f"{path}: not a recipe lock ({error!r}). Lock the recipe anew.") from None

    def require_pins(self, found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
        """Raise RecipeError where the inputs found now are not those that were locked."""
        changed = [name for name, pins in self.pins.items() if dict(found[name]) != dict(pins)]
        if changed:
            raise RecipeError(
                f"{path}: pins.{changed[0]}: the inputs of {', '.join(changed)} are not the ones that were locked. "
                "Bring the locked inputs back, or lock the recipe anew."
            )
