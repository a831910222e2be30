"""The graph of recipes: the corpora that precede others, and the content of a lock."""

import json
from pathlib import Path

import pytest

from data_recipes import RecipeError, load_corpus, load_run
from data_recipes.lock import Lock
from pipelines.graph import corpus_graph, run_graph
from pipelines.graph.ablation import ablation_graph

QUICKSTART = Path(__file__).parents[3] / "data_recipes" / "runs" / "quickstart.toml"


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """`corpora(name, against)` writes a corpus recipe over one page of text; gives its path."""

    def corpora(name: str, *against: str) -> Path:
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": f"a page of {name}"}))
        path = tmp_path / f"{name}.toml"
        path.write_text(
            f'name = "{name}"\ndescription = ""\n[source]\ninputs = [{{ kind = "jsonl", paths = ["{name}.jsonl"] }}]\n'
            f"[dedup]\nagainst = {json.dumps(list(against))}\n"
        )
        return path

    return corpora


def test_a_corpus_brings_the_earlier_ones_that_lie_beside_it(corpora):
    corpora("old")
    corpora("older")
    corpora("old", "older")
    path = corpora("new", "old")
    graph = corpus_graph(load_corpus(path), path)
    inputs = graph.stages["dedup[new]"].inputs
    assert {name: stage.id for name, stage in inputs.items()} == {
        "source": "source[new]",
        "filter": "filter[new]",
        "source:old": "source[old]",
        "dedup:old": "dedup[old]",
    }
    assert inputs["dedup:old"].inputs["dedup:older"].id == "dedup[older]"
    assert (list(graph.lock.corpora), sorted(graph.lock.earlier)) == (["new"], ["old", "older"])


def test_earlier_corpora_that_are_missing_or_go_in_a_circle_are_errors(corpora):
    path = corpora("new", "gone")
    with pytest.raises(RecipeError, match=r"dedup.against has 'gone', which is no corpus of this run, and .*gone.toml"):
        corpus_graph(load_corpus(path), path)
    corpora("one", "two")
    path = corpora("two", "one")
    with pytest.raises(RecipeError, match="dedup.against goes in a circle: two -> one -> two"):
        corpus_graph(load_corpus(path), path)


def test_a_lock_gives_the_same_keys_from_another_folder(corpora, tmp_path):
    corpora("old")
    path = corpora("new", "old")
    graph = corpus_graph(load_corpus(path), path)
    elsewhere = tmp_path / "runs" / "lock.json"
    elsewhere.parent.mkdir()
    elsewhere.write_text(graph.lock.to_json())
    from pipelines.recipes import load_recipe

    again = load_recipe(elsewhere).graph()
    assert {name: stage.key for name, stage in again.stages.items()} == {
        name: stage.key for name, stage in graph.stages.items()
    }
    assert Lock.from_json(elsewhere.read_text(), elsewhere) == again.lock
    (tmp_path / "old.jsonl").write_text(json.dumps({"text": "another page"}))
    with pytest.raises(RecipeError, match="the inputs of old are not the ones that were locked"):
        load_recipe(elsewhere).graph()


def test_a_search_for_a_mixture_shares_all_but_the_phase(monkeypatch):
    run, recipes = load_run(QUICKSTART)
    searched = ablation_graph(run, recipes, QUICKSTART, 2, 5, 0)
    own = run_graph(run, recipes, QUICKSTART)
    candidates = [name for name in searched.stages if "[2." in name]
    assert len(candidates) == 15 and not {name for name in searched.stages if "[3" in name or name == "report"}
    for name in ("tokenizer", "dedup[python_code]", "mix[1]", "train[1]"):
        assert searched.stages[name].key == own.stages[name].key
    assert len({searched.stages[name].key for name in candidates}) == 15
    assert all(
        searched.stages[f"train[2.{location:02d}]"].inputs["mix"] is searched.stages[f"mix[2.{location:02d}]"]
        for location in range(1, 6)
    )
    first = searched.stages["mix[2.01]"]
    assert dict(first.params) == dict(own.stages["mix[2]"].params)


def test_a_search_that_makes_no_sense_is_an_error():
    run, recipes = load_run(QUICKSTART)
    with pytest.raises(RecipeError, match="--phase 4: quickstart has the phases 1 to 3"):
        ablation_graph(run, recipes, QUICKSTART, 4, 5, 0)
    with pytest.raises(RecipeError, match="--candidates 3: a regression needs at least 4"):
        ablation_graph(run, recipes, QUICKSTART, 1, 3, 0)


def test_the_assistant_reuses_every_result_of_the_quickstart_but_its_export_and_report():
    quickstart, assistant = (
        run_graph(*load_run(path), path).stages for path in (QUICKSTART, QUICKSTART.with_name("python_assistant.toml"))
    )
    built_anew = {id for id, stage in quickstart.items() if id not in assistant or assistant[id].key != stage.key}
    assert built_anew == {"export[huggingface]", "report"}
