"""A recipe from a file, from Python and from a lock is one recipe: the same graph, the same mistakes."""

from pathlib import Path

import pytest

import pipelines
from data_recipes import CorpusRecipe, RecipeError, RunRecipe
from pipelines import Recipe, load_recipe

CORPUS = {"name": "notes", "description": "Notes", "source": {"inputs": [{"kind": "jsonl", "paths": ["notes.jsonl"]}]}}
CORPUS_PAGE = """
name = "notes"
description = "Notes"
[source]
inputs = [{ kind = "jsonl", paths = ["notes.jsonl"] }]
"""
RUN = {
    "name": "tiny",
    "description": "A tiny run",
    "tokenizer": {"vocab_size": 300, "sample_bytes_per_corpus": 1000},
    "tokenize": {"sequence_length": 16},
    "phases": [{"name": "one", "tokens": 64, "weights": {"notes": 1.0}}],
    "model": {"preset": "tiny"},
    "train": {"global_batch_sequences": 4, "micro_batch_sequences": 4, "peak_lr": 0.001},
    "evaluate": {"heldout_bytes_per_corpus": 100},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "notes.toml").write_text(CORPUS_PAGE)
    return tmp_path


def keys(recipe: Recipe) -> dict[str, str]:
    return {name: stage.key for name, stage in recipe.graph().stages.items()}


def test_python_and_toml_give_the_same_stages(folder: Path) -> None:
    assert keys(Recipe.of(CORPUS, folder=folder)) == keys(load_recipe(folder / "notes.toml"))


def test_the_corpora_of_a_run_written_in_python_are_its_corpora(folder: Path) -> None:
    recipe = Recipe.of(RUN, CORPUS, folder=folder)
    assert recipe.require_run().corpora == ["notes"]
    assert keys(recipe).items() >= keys(load_recipe(folder / "notes.toml")).items()


def test_a_lock_gives_the_same_stages_and_refuses_other_inputs(folder: Path) -> None:
    recipe = Recipe.of(RUN, CORPUS, folder=folder)
    lock = folder / "lock.json"
    lock.write_text(recipe.graph().lock.to_json())
    assert keys(load_recipe(lock)) == keys(recipe)
    (folder / "notes.jsonl").write_text('{"text": "two"}\n')
    with pytest.raises(RecipeError, match=r"lock\.json: .*inputs of notes are not the ones that were locked"):
        load_recipe(lock).graph()


@pytest.mark.parametrize(
    ("page", "corpora", "message"),
    [
        (CORPUS | {"sauce": 1}, [], "notes: sauce = 1: unknown field. Did you mean source?"),
        (RUN | {"phases": [{"name": "one", "tokens": 64, "weights": {"web": 1.0}}]}, [CORPUS], "no such corpus"),
        (RUN, [RUN | {"corpora": ["notes"]}], "a run recipe among the corpora"),
    ],
)
def test_a_mistake_in_python_is_the_message_that_a_file_gets(page: dict, corpora: list, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.of(page, *corpora)


def test_planning_writes_nothing_and_names_every_stage(folder: Path) -> None:
    plan = pipelines.plan(Recipe.of(CORPUS, folder=folder), folder / "store", until="filter")
    assert [stage.id for stage in plan.to_build] == ["source[notes]", "score[notes]", "filter[notes]"]
    assert not (folder / "store").exists()


def test_only_a_run_has_a_curriculum_to_simulate(folder: Path) -> None:
    from pipelines.session import simulate

    with pytest.raises(RecipeError, match=r"notes\.toml: the recipe of one corpus. Name a run recipe"):
        simulate(folder / "notes.toml", folder / "store")


def test_the_page_of_a_corpus_is_a_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    planned = [pipelines.plan(page, "store").graph.stages for page in (CORPUS, CorpusRecipe.model_validate(CORPUS))]
    assert [[stage.key for stage in stages.values()] for stages in planned] == [
        list(keys(load_recipe("notes.toml")).values())
    ] * 2


def test_the_page_of_a_run_alone_is_refused_with_the_mend() -> None:
    page = {**RUN, "corpora": ["notes.toml"]}
    for recipe in (page, RunRecipe.model_validate(page)):
        with pytest.raises(RecipeError, match=r"tiny: the page of a run, without its corpora\. Give them"):
            pipelines.plan(recipe, "store")
