"""Whether a recipe can work, before anything runs: the one check that plan, run, submit, size and ablate share.

`data_recipes` refuses mistakes that one page shows, such as a fraction above 1. The rules here span pages, or need
knowledge of the model or of a stage. Each rule and its sentence exist once.
"""

from pathlib import Path

from data_recipes import RecipeError, RunRecipe
from pipelines.fit.configs import Recipes
from pipelines.fit.corpus import corpus_mistakes, unmade
from pipelines.fit.run import run_mistakes
from pipelines.fit.scores import own_scores


def require_fit(corpora: Recipes, run: RunRecipe | None = None, path: Path = Path()) -> None:
    """Raise RecipeError, with a line for every mistake, if recipes cannot work.

    Args:
        corpora: the corpus recipes, those of the run or of the one corpus to build.
        run: the run recipe, if there is one.
        path: the file of the run recipe.
    """
    recipes = {name: corpus for name, (_, corpus) in corpora.items()}
    lines = [f"{file}: {mistake}" for file, corpus in corpora.values() for mistake in corpus_mistakes(corpus)]
    lines += [f"{file}: {mistake}" for file, corpus in corpora.values() for mistake in unmade(corpus, recipes)]
    if run:
        own = {name: own_scores(corpus, file) for name, (file, corpus) in corpora.items() if corpus.score.scorers}
        lines += [f"{path}: {mistake}" for mistake in run_mistakes(run, recipes, own, path.parent)]
    if lines:
        raise RecipeError("\n".join(dict.fromkeys(lines)))
