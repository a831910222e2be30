"""Recipes drafted from the user's own files: look at them, sample them, write recipes that plan and run as they are.

survey   which files there are, by folder and kind
sample   a few documents of each group: fields, languages, scores
corpus   the page of a corpus recipe, with the limits that the sample suggests
run      the page of the run recipe: vocabulary, budgets, model and batch that fit data and machine
pages    TOML with a comment on each choice
"""

from pipelines.draft.draft import Draft, draft

__all__ = ["Draft", "draft"]
