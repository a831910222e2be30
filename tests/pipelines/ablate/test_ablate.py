"""Drawn mixtures, and the result of a regression over them if the truth is known."""

import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from data_recipes import load_run
from pipelines import ablate
from pipelines.ablate.mixtures import dirichlet, draw_mixtures
from pipelines.ablate.regression import regress
from pipelines.ablate.stage import Ablation
from pipelines.artifacts.evaluation import Difference, Score, Scores, write_differences
from pipelines.cli.terminal.tables.ablation import print_ablation
from pipelines.graph.ablation import ablation_graph, write_best
from tests.kit.stages import committed, idle_stage

QUICKSTART = Path(__file__).parents[3] / "data_recipes" / "runs" / "quickstart.toml"
OWN = {"code": 0.3, "docs": 0.5, "sql": 0.2, "unused": 0.0}


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.floats(0.01, 1), min_size=2, max_size=6), st.integers(0, 2**31)
)
def test_mixtures_sum_to_one_differ_and_start_with_the_recipes_own(weights, seed):
    mixtures = draw_mixtures(weights, 8, seed)
    assert len({json.dumps(mixture) for mixture in mixtures}) == 8
    assert all(abs(sum(mixture.values()) - 1) < 1e-9 and min(mixture.values()) >= 0 for mixture in mixtures)
    total = sum(weights.values())
    assert all(abs(mixtures[0][name] - weights[name] / total) < 1e-3 for name in weights)
    assert mixtures == draw_mixtures(weights, 8, seed)


def test_a_corpus_without_weight_gets_none():
    assert all(set(mixture) == {"code", "docs", "sql"} for mixture in draw_mixtures(OWN, 10, 0))


def test_drawn_mixtures_have_the_recipes_weights_as_their_mean():
    mean = np.array([0.6, 0.3, 0.1])
    drawn = dirichlet(mean, 50_000, np.random.default_rng(3))
    assert np.abs(drawn.mean(axis=0) - mean).max() < 0.01


def planted(weights: np.ndarray) -> np.ndarray:
    """Bits per byte of two corpora: the first learns from `code`, the second from `docs` with less to gain."""
    return np.stack([2.0 - 0.5 * weights[:, 0], 1.5 - 0.2 * weights[:, 1]], axis=1)


def test_held_out_mixtures_are_ranked_and_the_better_method_comes_first():
    mixtures = np.array([list(mixture.values()) for mixture in draw_mixtures(OWN, 8, 5)])
    result = regress(mixtures, planted(mixtures), np.array([0.5, 0.5]))
    assert result[0].method == "linear"
    assert result[0].rank_correlation == pytest.approx(1.0)
    assert 0.0 < result[1].rank_correlation < 1.0
    np.testing.assert_allclose(result[0].heldout, planted(mixtures), atol=1e-9)


def test_a_held_out_prediction_has_not_seen_its_own_score():
    mixtures = np.array([list(mixture.values()) for mixture in draw_mixtures(OWN, 6, 5)])
    scores = planted(mixtures)
    changed = scores.copy()
    changed[4] += 100.0
    weights = np.array([0.5, 0.5])
    before, after = (
        {result.method: result.heldout for result in regress(mixtures, table, weights)} for table in (scores, changed)
    )
    for method, heldout in before.items():
        np.testing.assert_array_equal(heldout[4], after[method][4])
        assert not np.array_equal(heldout[5], after[method][5])


@pytest.fixture
def search(attempt, tmp_path):
    """Run the stage on planted scores of `count` mixtures."""

    def search(count: int, name: str = "search", half: float | None = 0.01, aim=(), planted=planted):
        mixtures = draw_mixtures(OWN, count, 1)
        table = np.array([list(mixture.values()) for mixture in mixtures])
        stages, inputs = [], {}
        for location, scores in enumerate(planted(table)):
            folder = tmp_path / f"{name}-scores" / f"{location}"
            folder.mkdir(parents=True)
            measured = {
                f"bits_per_byte/{name}": Score(value, 9, 0, 9) for name, value in zip("ab", scores, strict=True)
            }
            Scores("sql", 1, 1, {**measured, "sql_execution_accuracy": Score(0.5, 9, 0, 1)}).write(folder)
            own = planted(table)[0]
            intervals = {
                f"bits_per_byte/{corpus}": Difference(value, half and value - half, half and value + half, 0.5, None, 9)
                for corpus, value in zip("ab", scores - own, strict=True)
            }
            write_differences(intervals if location else {}, folder)
            stages.append(idle_stage("evaluate", f"3.{location:02d}"))
            inputs[f"evaluate:{location:03d}"] = committed(folder)
        return attempt(ablate.stage(3, mixtures, 1, stages, aim), name, **inputs)

    return search


def test_the_search_finds_where_the_planted_optimum_lies(search):
    made = search(6)
    result = Ablation.read(made.artifact.path)
    assert result.best["code"] > 0.6 > result.recipe["code"]
    assert result.best["sql"] < result.recipe["sql"]
    assert result.predicted_best < result.measured_recipe
    truth = planted(np.array([list(result.best.values())])).mean()
    assert result.predicted_best == pytest.approx(truth, abs=1e-6)
    assert made.metrics["ablate/rank_correlation_linear"] == pytest.approx(1.0)
    assert (made.artifact.path / "figures" / "ablation.png").read_bytes()[:4] == b"\x89PNG"


def flat(mixtures):
    """Scores of a run that is too short for its mixture to matter."""
    return np.full((len(mixtures), 2), 3.1267)


def test_a_regression_that_predicts_the_same_for_all_names_no_mixture_that_nobody_tried(search):
    ablation = Ablation.read(search(6, planted=flat).artifact.path)
    assert dict(ablation.best) == dict(ablation.recipe)
    assert ablation.measured_best == ablation.measured_recipe == pytest.approx(ablation.predicted_best)


def test_an_aim_is_the_corpus_whose_bits_per_byte_are_to_fall(search):
    """ "a" falls with the weight of code and "b" with that of sql."""

    def opposed(mixtures):
        names = list(OWN)
        return np.stack([3 - mixtures[:, names.index("code")], 3 - mixtures[:, names.index("sql")]], axis=1)

    code, sql = (
        Ablation.read(search(8, f"aim-{aim}", aim=(aim,), planted=opposed).artifact.path) for aim in ("a", "b")
    )
    assert (list(code.aim), list(sql.aim)) == (["a"], ["b"])
    assert code.best["code"] > sql.best["code"]
    assert sql.best["sql"] > code.best["sql"]
    assert sql.measured_recipe == pytest.approx(3 - OWN["sql"])


@pytest.mark.parametrize(
    ("half", "is_better", "words"),
    [
        (1e-4, True, r"^-0\.\d{4}, 95 % interval -0\.\d{4} to -0\.\d{4}$"),
        (2.0, False, r"\(noise\)$"),
        (None, False, "too few held-out documents"),
    ],
)
def test_the_best_tried_mixture_is_better_only_beyond_the_noise_of_documents(search, half, is_better, words, tmp_path):
    made = search(6, half=half)
    result = Ablation.read(made.artifact.path)
    assert result.is_better == is_better
    if half is not None:
        assert result.gain[0] == pytest.approx(result.measured_best - result.measured_recipe)
        assert result.gain[2] - result.gain[1] == pytest.approx(2 * half / 2**0.5), "two independent corpora"
        assert made.metrics["ablate/gain.ci_high"] == result.gain[2]
    terminal = Console(width=200, record=True, file=StringIO())
    print_ablation(result, made.artifact.path, tmp_path / "new.toml", terminal)
    (line,) = [
        line for line in terminal.export_text().splitlines() if line.startswith("best tried against the recipe: ")
    ]
    assert re.search(words, line.removeprefix("best tried against the recipe: "))


def test_candidates_are_compared_with_the_recipes_own_mixture():
    run, recipes = load_run(QUICKSTART)
    graph = ablation_graph(run, recipes, QUICKSTART, 2, 4, 0)
    first, *others = graph.stages["ablate[2]"].inputs.values()
    assert first.id == "evaluate[2.01]"
    assert first.inputs["previous"].id == "evaluate[1]"
    assert [each.inputs["previous"] for each in others] == [first] * 3
    assert all(graph.stages[each.id] is each for each in (first, *others))


def test_two_searches_are_the_same_bytes(search):
    one, two = search(4, "one"), search(4, "two")
    assert one.artifact.manifest.digests() == two.artifact.manifest.digests()


def test_too_few_mixtures_are_an_error(search):
    with pytest.raises(ValueError, match="3 mixtures are too few to predict others; try at least 4"):
        search(3)


def test_the_best_mixture_becomes_a_recipe_with_the_comments_of_the_first(tmp_path):
    best = {"python_code": 0.2, "python_docs": 0.1, "text_to_sql": 0.7}
    result = Ablation(3, ("a",), "linear", {}, {}, best, 1.0, 1.0, 1.0)
    out = tmp_path / "deeper" / "best.toml"
    out.parent.mkdir()
    write_best(QUICKSTART, result, out)
    run, recipes = load_run(out)
    assert run.phases[2].weights == best
    assert run.phases[:2] == load_run(QUICKSTART)[0].phases[:2]
    assert set(recipes) == {"python_docs", "python_code", "text_to_sql", "sql_chat"}
    assert "# The whole chain on a laptop" in out.read_text()
