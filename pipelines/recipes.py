"""A recipe with all that its graph is built from: its corpora, and the files whose folders its paths start from.

Example:
    >>> from pipelines import Recipe
    >>> from data_recipes import CorpusRecipe
    >>> page = {"kind": "text_to_sql", "num_schemas": 8, "num_heldout_schemas": 2, "pairs_per_schema": 2, "seed": 1}
    >>> corpus = CorpusRecipe(name="sql", description="Generated questions", source={"inputs": [page]})
    >>> [stage.id for stage in Recipe.of(corpus).graph().stages.values()]
    ['source[sql]', 'score[sql]', 'filter[sql]', 'dedup[sql]']
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_recipes import CorpusRecipe, RecipeError, RunRecipe, Section, load_run, parse_recipe
from data_recipes import load_recipe as load_page
from data_recipes.load import require_corpora
from data_recipes.lock import Lock
from pipelines.fit import require_fit
from pipelines.fit.configs import Recipes
from pipelines.graph import Graph, corpus_graph, run_graph

Page = RunRecipe | CorpusRecipe | Mapping[str, Any]
"""A recipe as a model, or as the fields of its page."""


@dataclass(frozen=True)
class Recipe:
    """A run recipe or a corpus recipe, ready to be planned and run.

    Attributes:
        page: The recipe itself.
        path: Its file; relative paths in it start from the folder of this file, which need not exist.
        corpora: Corpus recipes of a run by name, each with its file.
        earlier: Corpora that these are deduplicated against, if they are not to be looked for in the recipe's folder.
        locked: The lock that the recipe was read from, with its file; the inputs must be as it has them.

    Example:
        >>> import pipelines
        >>> recipe = pipelines.load_recipe("data_recipes/runs/quickstart.toml")
        >>> sorted(recipe.corpora)
        ['python_code', 'python_docs', 'sql_chat', 'text_to_sql']
    """

    page: RunRecipe | CorpusRecipe
    path: Path
    corpora: Recipes = field(default_factory=dict)
    earlier: Recipes = field(default_factory=dict)
    locked: tuple[Path, Lock] | None = None

    @classmethod
    def of(cls, page: Page, *corpora: Page, folder: Path | str = ".") -> "Recipe":
        """A recipe written in Python, as models or as the fields that TOML would have.

        Args:
            page: The recipe of a run or of one corpus.
            corpora: The corpora of a run; its own field `corpora` may be left out.
            folder: Folder from which relative paths start.

        Raises:
            RecipeError: A field is wrong, or the run names a corpus that is not among `corpora`.
        """
        named = {}
        for each in corpora:
            corpus = _model(each)
            if isinstance(corpus, RunRecipe):
                raise RecipeError(f"{corpus.name}: a run recipe among the corpora. Give it first, and once.")
            named[corpus.name] = (Path(folder, f"{corpus.name}.toml"), corpus)
        model = _model(page if isinstance(page, Section) or not named else {"corpora": list(named), **page})
        path = Path(folder, f"{model.name}.toml")
        if isinstance(model, RunRecipe):
            if not named:
                raise RecipeError(
                    f"{model.name}: the page of a run, without its corpora. Give them too: Recipe.of(run, corpus, ...)."
                )
            require_corpora(model, named, path)
        return cls(model, path, named)

    def graph(self) -> Graph:
        """The stages that the recipe describes. Raises RecipeError if it cannot work or an input is missing."""
        if isinstance(self.page, CorpusRecipe):
            graph = corpus_graph(self.page, self.path, self.earlier)
        else:
            graph = run_graph(self.page, self.corpora, self.path, self.earlier)
        if self.locked:
            path, lock = self.locked
            lock.require_fingerprints(graph.lock, path)
        return graph

    def require_fit(self) -> None:
        """Raise RecipeError, with a line for every mistake, if the recipe cannot work. Reads no input."""
        if isinstance(self.page, CorpusRecipe):
            require_fit({self.page.name: (self.path, self.page), **self.earlier})
        else:
            require_fit({**self.corpora, **self.earlier}, self.page, self.path)

    def require_run(self) -> RunRecipe:
        """The page of a run recipe. Raises RecipeError if this is the recipe of one corpus."""
        if isinstance(self.page, RunRecipe):
            return self.page
        raise RecipeError(f"{self.path}: the recipe of one corpus. Name a run recipe, which has phases.")


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a run recipe, a corpus recipe (`.toml`) or a lock that a run wrote (`.json`).

    Args:
        path: The file.
        overrides: Fields to replace, as `--set` takes them: `train.peak_lr=0.002`. A lock takes none.

    Raises:
        RecipeError: The recipe is wrong; the message names the field, its value and the remedy.

    Example:
        >>> from pipelines import load_recipe
        >>> load_recipe("data_recipes/corpora/python_docs.toml").page.name
        'python_docs'
    """
    path = Path(path)
    if path.suffix == ".json":
        return _load_lock(path, overrides)
    page = load_page(path, overrides)
    if isinstance(page, CorpusRecipe):
        return Recipe(page, path)
    run, corpora = load_run(path, overrides)
    return Recipe(run, path, corpora)


def _model(page: Page) -> RunRecipe | CorpusRecipe:
    if isinstance(page, RunRecipe | CorpusRecipe):
        return page
    return parse_recipe(page, Path(str(page.get("name", "recipe"))))


def as_recipe(recipe: "Recipe | Page | Path | str") -> Recipe:
    """A recipe from any form that names one. Raises RecipeError, also for the page of a run without its corpora."""
    if isinstance(recipe, Recipe):
        return recipe
    return load_recipe(recipe) if isinstance(recipe, Path | str) else Recipe.of(recipe)


def _load_lock(path: Path, overrides: Sequence[str]) -> Recipe:
    if overrides:
        raise RecipeError(
            f"{path}: a lock is complete; --set {overrides[0]} would change it. Change the recipe instead."
        )
    try:
        lock = Lock.from_json(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such lock. A run writes one to store/runs/<run>/lock.json.") from None
    if not lock.corpora:
        raise RecipeError(f"{path}: the lock of an evaluation, which has no recipe. Run arctic evaluate again.")
    corpora, earlier = _with_files(lock.corpora, lock), _with_files(lock.earlier, lock)
    if lock.run:
        return Recipe(lock.run, Path(lock.folders[""], f"{lock.run.name}.toml"), corpora, earlier, (path, lock))
    ((origin, recipe),) = corpora.values()
    return Recipe(recipe, origin, {}, earlier, (path, lock))


def _with_files(corpora: Mapping[str, CorpusRecipe], lock: Lock) -> Recipes:
    return {name: (Path(lock.folders[name], f"{name}.toml"), recipe) for name, recipe in corpora.items()}
