"""What to build: declared TOML pages, checked and frozen. Nothing here runs anything."""

from data_recipes.load import load_corpus, load_recipe, load_run
from data_recipes.schema import CorpusRecipe, RunRecipe
from data_recipes.section import RecipeError, Section

__all__ = ["CorpusRecipe", "RecipeError", "RunRecipe", "Section", "load_corpus", "load_recipe", "load_run"]
