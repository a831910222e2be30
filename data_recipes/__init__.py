"""Recipes: declared TOML pages, checked and frozen. Nothing here runs anything.

>>> from pathlib import Path
>>> from data_recipes import load_recipe
>>> load_recipe(Path("data_recipes/runs/quickstart.toml")).phases[0].weights
{'python_docs': 0.5, 'python_code': 0.3, 'text_to_sql': 0.2}
"""

from arctic_errors import ArcticError, UserError
from data_recipes.load import load_corpus, load_recipe, load_run, parse_recipe
from data_recipes.schema import CorpusRecipe, RunRecipe
from data_recipes.section import Location, RecipeError, Section

__all__ = [
    "ArcticError",
    "CorpusRecipe",
    "Location",
    "RecipeError",
    "RunRecipe",
    "Section",
    "UserError",
    "load_corpus",
    "load_recipe",
    "load_run",
    "parse_recipe",
]
