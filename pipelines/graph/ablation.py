"""A search for the mixture of one phase: a graph of small runs that share all they can, and a recipe with the best."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import tomlkit
from pydantic import ValidationError

from data_recipes import RecipeError, RunRecipe
from infra.stage import Stage, topological_order
from infra.store import write_durably
from pipelines import ablate, tokenize, train
from pipelines.ablate.mixtures import draw_mixtures
from pipelines.ablate.regression import MIN_MIXTURES
from pipelines.ablate.stage import Ablation
from pipelines.evaluate import PhaseInputs
from pipelines.fit import require_fit
from pipelines.fit.configs import Recipes, has_heldout, mistakes_of, model_config
from pipelines.graph.chain import Graph, build_corpora, chain, fingerprint_corpora, lock_run, with_earlier
from pipelines.train import TrainInputs

VARIED = ("mix", "train", "evaluate")
"""Stages of the phase that each candidate builds separately; all others are shared."""


def ablation_graph(
    run: RunRecipe, recipes: Recipes, path: Path, number: int, count: int, seed: int, aim: Sequence[str] = ()
) -> Graph:
    """Phase `number` of the run recipe at `path` with each of `count` mixtures, on one worker each so
    that several train side by side, and the regression over them: for the mean bits per byte of the corpora in `aim`,
    or of all. Raises RecipeError."""
    require_fit(recipes, run, path)
    _require_sense(run, recipes, number, count)
    _require_aim(aim, recipes)
    folder = path.parent
    mixtures = draw_mixtures(run.phases[number - 1].weights, count, seed)
    recipes_by_name = with_earlier(recipes, {})
    fingerprints = fingerprint_corpora(recipes_by_name)
    with mistakes_of(path):
        tokenizer = tokenize.fingerprint(run.tokenizer, folder)
        weights = train.fingerprint(run, model_config(run), folder)
    corpora = {name: corpus for name, corpus in build_corpora(recipes_by_name, fingerprints).items() if name in recipes}
    stages: dict[str, Stage] = {}
    evaluations: list[Stage] = []
    for candidate_number, mixture in enumerate(mixtures, start=1):
        candidate = _candidate(
            chain(_variant(run, number, mixture), corpora, tokenizer, folder, weights), number, candidate_number
        )
        evaluated = candidate[f"evaluate[{number}.{candidate_number:02d}]"]
        if evaluations:
            compared = replace(PhaseInputs.of(evaluated.inputs), previous=evaluations[0])
            evaluated = replace(evaluated, inputs=compared.named())
        stages |= candidate | {evaluated.id: evaluated}
        evaluations.append(evaluated)
    searched = ablate.stage(number, mixtures, seed, evaluations, tuple(aim))
    lock = lock_run(run, recipes_by_name, list(recipes), fingerprints, tokenizer, folder, weights)
    return Graph(f"{run.name}-ablate", {**stages, searched.id: searched}, lock)


def write_best(recipe: Path, ablation: Ablation, out: Path) -> None:
    """Write the run recipe `recipe` with the best mixture, comments and all, to `out`."""
    page = tomlkit.parse(recipe.read_text(encoding="utf-8"))
    weights = tomlkit.inline_table()
    weights.update(ablation.best)
    page["phases"][ablation.phase - 1]["weights"] = weights
    page["corpora"] = [os.path.relpath(recipe.parent / corpus, out.parent) for corpus in page["corpora"]]
    write_durably(out, tomlkit.dumps(page))


def _require_sense(run: RunRecipe, recipes: Recipes, number: int, count: int) -> None:
    if not 1 <= number <= len(run.phases):
        raise RecipeError(f"--phase {number}: {run.name} has the phases 1 to {len(run.phases)}. Name one of them.")
    if count < MIN_MIXTURES:
        raise RecipeError(f"--candidates {count}: a regression needs at least {MIN_MIXTURES}. Raise it.")
    if sum(weight > 0 for weight in run.phases[number - 1].weights.values()) < 2:
        raise RecipeError(f"--phase {number}: it reads one corpus, so there is nothing to mix. Name another phase.")
    if not has_heldout(corpus for _, corpus in recipes.values()):
        raise RecipeError(f"run {run.name}: mixtures are compared by bits per byte. Raise source.heldout_fraction.")


def _require_aim(aim: Sequence[str], recipes: Recipes) -> None:
    measured = [name for name, (_, corpus) in recipes.items() if has_heldout([corpus])]
    for name in aim:
        if name not in measured:
            raise RecipeError(
                f"--aim {name}: it has no held-out documents in this run, whose corpora with some are "
                f"{', '.join(measured)}. Name one of them."
            )


def _variant(run: RunRecipe, number: int, mixture: Mapping[str, float]) -> RunRecipe:
    page = run.as_params()
    page["phases"][number - 1]["weights"] = dict(mixture)
    page["train"] |= {"num_workers": 1, "expert_parallel_size": 1, "context_parallel_size": 1}
    page["evaluate"]["text_to_sql_questions"] = 0
    # No candidate needs them, and each would load their classes again.
    page["stages"], page["export"] = [], []
    try:
        return RunRecipe.model_validate(page)
    except ValidationError as error:
        raise RecipeError(f"run {run.name}: {error.errors()[0]['msg']}") from None


def _candidate(built: Mapping[str, Stage], number: int, candidate_number: int) -> dict[str, Stage]:
    """The inputs of phase `number`, with its own stages named after the candidate."""
    subject = f"{number}.{candidate_number:02d}"
    mixed, trained, evaluated = (built[f"{name}[{number}]"] for name in VARIED)
    mixed = replace(mixed, subject=subject)
    read = replace(TrainInputs.of(trained.inputs), mix=mixed)
    trained = replace(trained, subject=subject, inputs=read.named())
    scored = replace(PhaseInputs.of(evaluated.inputs), train=trained)
    evaluated = replace(evaluated, subject=subject, inputs=scored.named())
    return {stage.id: stage for stage in topological_order([evaluated])}
