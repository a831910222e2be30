"""From web data to an evaluated model: plan and run recipes, or use single steps of the chain as functions.

    >>> import pipelines
    >>> recipe = pipelines.load_recipe("data_recipes/runs/quickstart.toml", ["train.peak_lr=0.002"])
    >>> plan = pipelines.plan(recipe, "no_store_yet")
    >>> len(plan.to_build), plan.stages[-1].stage.id
    (35, 'report')

`pipelines.run(recipe, "store")` builds the planned stages and returns a `RunResult`. It needs neither a terminal nor a
Ray cluster that runs already.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arctic_errors import ArcticError, UserError
    from infra.session import RunResult, StageResult
    from pipelines.artifacts.documents import Document
    from pipelines.dedup.deduplicate import deduplicate
    from pipelines.errors import NotInStoreError, OptionError
    from pipelines.recipes import Recipe, load_recipe
    from pipelines.score.from_recipe import score_documents
    from pipelines.session import RunPlan, plan, run
    from pipelines.source.read_documents import extract, read_documents
    from pipelines.tokenize.pack_texts import pack_texts, train_tokenizer

__all__ = [
    "ArcticError",
    "Document",
    "NotInStoreError",
    "OptionError",
    "Recipe",
    "RunPlan",
    "RunResult",
    "StageResult",
    "UserError",
    "deduplicate",
    "extract",
    "load_recipe",
    "pack_texts",
    "plan",
    "read_documents",
    "run",
    "score_documents",
    "train_tokenizer",
]

_MODULES = {
    "ArcticError": "arctic_errors",
    "Document": "pipelines.artifacts.documents",
    "NotInStoreError": "pipelines.errors",
    "OptionError": "pipelines.errors",
    "Recipe": "pipelines.recipes",
    "RunPlan": "pipelines.session",
    "RunResult": "infra.session",
    "StageResult": "infra.session",
    "UserError": "arctic_errors",
    "deduplicate": "pipelines.dedup.deduplicate",
    "extract": "pipelines.source.read_documents",
    "load_recipe": "pipelines.recipes",
    "pack_texts": "pipelines.tokenize.pack_texts",
    "plan": "pipelines.session",
    "read_documents": "pipelines.source.read_documents",
    "run": "pipelines.session",
    "score_documents": "pipelines.score.from_recipe",
    "train_tokenizer": "pipelines.tokenize.pack_texts",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import pipelines` stays light.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
