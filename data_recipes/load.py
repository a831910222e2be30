"""TOML page to frozen model; every error names the file, the field, the value and the remedy."""

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from data_recipes.explain import did_you_mean, explain
from data_recipes.overrides import of_corpora, of_corpus, override, require_known_corpora, without_corpora
from data_recipes.schema import CorpusRecipe, RunRecipe
from data_recipes.section import RecipeError

Recipe = TypeVar("Recipe", CorpusRecipe, RunRecipe)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> CorpusRecipe | RunRecipe:
    """The recipe at `path`, of whichever of the two kinds it is.

    `overrides` are `key.path=VALUE` strings with VALUE in TOML or a bare string, applied before validation; those of a
    run's corpora are ignored here. Raises RecipeError.

    Example:
        >>> from pathlib import Path
        >>> from data_recipes import load_recipe
        >>> load_recipe(Path("data_recipes/runs/quickstart.toml"), ["train.peak_lr=0.002"]).train.peak_lr
        0.002
    """
    page = _read(path)
    if not page:
        raise RecipeError(f"{path}: empty. Write a recipe, or draft one with `arctic init`.")
    own = without_corpora(overrides) if _is_run(page) else overrides
    return parse_recipe(override(page, own, path), path)


def parse_recipe(page: Mapping[str, Any], path: Path = Path("recipe")) -> CorpusRecipe | RunRecipe:
    """A recipe from the fields of its page, as TOML gives them; with `phases` it is a run recipe.

    `path` names the page in errors. Raises RecipeError.

    Example:
        >>> from data_recipes import parse_recipe
        >>> source = {"inputs": [{"kind": "jsonl", "paths": ["notes.jsonl"]}]}
        >>> parse_recipe({"name": "notes", "description": "My notes", "source": source}).filter.min_words
        50
        >>> parse_recipe({"name": "notes", "description": "My notes", "sauce": source})
        Traceback (most recent call last):
        data_recipes.section.RecipeError: recipe: source: missing. Add it.
        recipe: sauce = {'inputs': [{'kind': 'jsonl', 'paths': ['notes.jsonl']}]}: unknown field. Did you mean source?
    """
    return _validate(path, page, RunRecipe) if _is_run(page) else _validate(path, page, CorpusRecipe)


def load_corpus(path: Path, overrides: Sequence[str] = ()) -> CorpusRecipe:
    """The corpus recipe at `path`. Raises RecipeError.

    Example:
        >>> from pathlib import Path
        >>> from data_recipes import load_corpus
        >>> load_corpus(Path("data_recipes/corpora/python_docs.toml")).source.extractor
        'all_text'
    """
    return _validate(path, override(_read(path), overrides, path), CorpusRecipe)


def load_run(path: Path, overrides: Sequence[str] = ()) -> tuple[RunRecipe, dict[str, tuple[Path, CorpusRecipe]]]:
    """The run recipe at `path` and its corpora by name, each with the path it came from.

    `overrides` as of `load_recipe`; `corpora.web.filter.min_words=20` replaces a field of the corpus web. Raises
    RecipeError.

    Example:
        >>> from pathlib import Path
        >>> from data_recipes import load_run
        >>> run, corpora = load_run(Path("data_recipes/runs/quickstart.toml"))
        >>> [phase.name for phase in run.phases], sorted(corpora)
        (['general', 'code', 'enterprise'], ['python_code', 'python_docs', 'sql_chat', 'text_to_sql'])
    """
    run = _validate(path, override(_read(path), without_corpora(overrides), path), RunRecipe)
    theirs = of_corpora(overrides)
    corpora: dict[str, tuple[Path, CorpusRecipe]] = {}
    for number, relative in enumerate(run.corpora, start=1):
        corpus_path = (path.parent / relative).resolve()
        if not corpus_path.is_file():
            raise RecipeError(
                f"{path}: corpora.{number} = {relative!r} is not a file ({corpus_path}). Correct the path. "
                f"{_near_files(corpus_path)}"
            )
        page = _read(corpus_path)
        page = override(page, of_corpus(str(page.get("name")), theirs), corpus_path)
        corpus = _validate(corpus_path, page, CorpusRecipe)
        if corpus.name in corpora:
            raise RecipeError(
                f"{path}: corpora.{number} = {relative!r} has the name {corpus.name!r} a second time. Rename one."
            )
        corpora[corpus.name] = (corpus_path, corpus)
    require_known_corpora(theirs, corpora, path)
    require_corpora(run, corpora, path)
    return run, corpora


def require_corpora(run: RunRecipe, corpora: Collection[str], path: Path) -> None:
    """Raise RecipeError if the run recipe at `path` names a corpus that is not among `corpora`."""
    for field, name in _named_corpora(run):
        if name not in corpora:
            raise RecipeError(
                f"{path}: {field}: no such corpus. The corpora of this run are "
                f"{', '.join(corpora)}. {did_you_mean(name, corpora)}".rstrip()
            )


def _named_corpora(run: RunRecipe) -> Iterator[tuple[str, str]]:
    """Every place of `run` that names a corpus, as field with value, and name."""
    tables = {f"mix.{field}": getattr(run.mix, field) for field in ("max_epochs_per_corpus", "quality_power")}
    for number, phase in enumerate(run.phases, start=1):
        fields = ("weights", "weights_to", "tokens_per_corpus")
        tables |= {f"phases.{number}.{field}": getattr(phase, field) for field in fields}
    for number, amendment in enumerate(run.amendments, start=1):
        tables |= {f"amendments.{number}.{field}": getattr(amendment, field) for field in ("weights", "weights_to")}
    for number, section in enumerate(run.finetune, start=1):
        tables |= {f"finetune.{number}.{field}": getattr(section, field) for field in ("weights", "epochs")}
    for field, table in tables.items():
        yield from ((f"{field}.{name} = {value}", name) for name, value in table.items())
    yield from ((f"mix.rehydrate.{number} = {name!r}", name) for number, name in enumerate(run.mix.rehydrate, start=1))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe. {_near_files(path)}".rstrip()) from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}). Name a recipe file.") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}. Mend the line named.") from None


def _validate(path: Path, page: Mapping[str, Any], model: type[Recipe]) -> Recipe:
    try:
        return model.model_validate(page)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{path}: {line}" for line in explain(error, model))) from None


def _near_files(path: Path) -> str:
    near = sorted(file.name for file in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    return f"{path.parent} has {', '.join(near)}." if near else ""


def _is_run(page: Mapping[str, Any]) -> bool:
    """Whether it is the page of a run. One without phases has fine-tunes."""
    return "phases" in page or "finetune" in page
